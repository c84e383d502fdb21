"""Several writes at once, reported in order; and pages of a steady size."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.adapters.elasticsearch.index_versions import State, advanced
from activity_indexer.adapters.paging import LARGEST, PageSize
from activity_indexer.reindex.fill import behind
from activity_indexer.reindex.ordered import in_order

pytestmark = pytest.mark.simulated_time


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(1, 4))
async def test_writes_end_in_any_order_and_are_reported_in_theirs(delays: list[int], at_once: int) -> None:
    under_way = most = 0

    async def write(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(delays[number]):
            await asyncio.sleep(0)
        under_way -= 1
        return number * 10

    found = [each async for each in in_order(numbers(len(delays)), write, at_once)]
    assert found == [(number, number * 10) for number in range(len(delays))]
    assert most <= at_once


async def test_a_write_that_fails_ends_the_others_and_nothing_behind_it_is_reported() -> None:
    ended: list[int] = []

    async def write(number: int) -> None:
        if number == 1:
            raise ValueError("of number 1")
        try:
            await asyncio.sleep(0 if number == 0 else 1000)
        finally:
            ended.append(number)

    reported = []
    writes = in_order(numbers(10), write, 3)
    reported.append((await anext(writes))[0])
    with pytest.raises(ValueError, match="of number 1"):
        await anext(writes)
    assert reported == [0]
    assert ended == [0, 2]  # number 3 had not begun


@given(st.lists(st.tuples(st.integers(1, 5_000_000)), max_size=20))
def test_a_page_never_asks_for_nothing_or_for_too_much(sizes: list[tuple[int]]) -> None:
    page = PageSize()
    for (size,) in sizes:
        rows = page.rows
        page.learn(rows, rows * size)
        assert 1 <= page.rows <= min(LARGEST, rows * 4)
        assert page.rows == 1 or page.rows * size <= page.target


def test_offsets_only_advance() -> None:
    state = State("topic", {0: 5, 1: 7})
    assert advanced(state, {0: 3, 1: 9, 2: 1}).offsets == {0: 5, 1: 9, 2: 1}


@pytest.mark.parametrize(
    ("read", "left"), [({}, 15), ({0: 10}, 10), ({0: 10, 1: 10}, 0), ({0: 3}, 15), ({0: 12, 1: 10}, 0)]
)
def test_what_is_left_of_the_topic_is_what_is_still_there(read: dict[int, int], left: int) -> None:
    assert behind(State("topic", read), {0: 10, 1: 10}, {0: 5}) == left
