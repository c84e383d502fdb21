"""Two ordered streams, joined."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.rewrite.merge import OutOfOrder, merge_join


@dataclass(frozen=True)
class Item:
    id: str
    side: str = ""


async def pages(ids: Sequence[str], size: int, side: str = "") -> AsyncIterator[Sequence[Item]]:
    """In pages of this size, with an empty one at the front and the end."""
    yield []
    for start in range(0, len(ids), size):
        yield [Item(each, side) for each in ids[start : start + size]]
    yield []


IDS = st.lists(st.text(max_size=3), unique=True)


@given(IDS, IDS, st.integers(1, 4), st.integers(1, 4))
async def test_every_id_comes_once_in_order_with_what_each_side_has(
    lefts: list[str], rights: list[str], one: int, other: int
) -> None:
    joined = merge_join(pages(sorted(lefts), one, "left"), pages(sorted(rights), other, "right"))
    found = [pair async for pair in joined]
    wanted = sorted({*lefts, *rights})
    assert found == [
        (Item(each, "left") if each in lefts else None, Item(each, "right") if each in rights else None)
        for each in wanted
    ]


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_the_order_of_texts_is_that_of_their_bytes(ids: list[str]) -> None:
    """What PostgreSQL's collation C and Elasticsearch's keywords sort by."""
    assert sorted(ids) == sorted(ids, key=str.encode)


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], ["a", "c", "b"]])
async def test_a_stream_out_of_order_is_refused(ids: list[str]) -> None:
    with pytest.raises(OutOfOrder, match="PostgreSQL gave"):
        [pair async for pair in merge_join(pages(ids, 2), pages([], 1), ("PostgreSQL", "Elasticsearch"))]
    with pytest.raises(OutOfOrder, match="Elasticsearch gave"):
        [pair async for pair in merge_join(pages(["a"], 1), pages(ids, 1), ("PostgreSQL", "Elasticsearch"))]


async def test_only_one_page_of_each_stream_is_read_ahead() -> None:
    read: list[str] = []

    async def reported() -> AsyncIterator[Sequence[Item]]:
        for each in "abcd":
            read.append(each)
            yield [Item(each)]

    joined = merge_join(reported(), pages([], 1))
    assert await anext(joined) == (Item("a"), None)
    assert read == ["a"]
    await joined.aclose()  # type: ignore[attr-defined]
