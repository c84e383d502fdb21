"""Joins two streams that come in the same order of ids, in memory for one page of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Generic, Protocol, TypeVar

from activity_indexer.errors import ActivityIndexerError


class OutOfOrder(ActivityIndexerError):
    """A stream is not in order: what would be compared is not what belongs together."""


class Identified(Protocol):
    """Something with an id."""

    @property
    def id(self) -> str:
        """Ids are compared as Python compares texts, which is the order of their UTF-8 bytes."""


L = TypeVar("L", bound=Identified)
R = TypeVar("R", bound=Identified)
T = TypeVar("T", bound=Identified)
Pages = AsyncIterator[Sequence[T]]


class _Stream(Generic[T]):
    """The next item of pages; None at the end."""

    def __init__(self, pages: Pages[T], name: str) -> None:
        self._pages = pages
        self._name = name
        self._page: Sequence[T] = ()
        self._at = 0

    async def next(self, last: str | None) -> T | None:
        while self._at >= len(self._page):
            page = await anext(self._pages, None)
            if page is None:
                return None
            self._page, self._at = page, 0
        item = self._page[self._at]
        self._at += 1
        if last is not None and item.id <= last:
            raise OutOfOrder(f"{self._name} gave {item.id!r} after {last!r}: its order is not that of UTF-8 bytes")
        return item


async def merge_join(
    left: Pages[L], right: Pages[R], names: tuple[str, str] = ("left", "right")
) -> AsyncIterator[tuple[L | None, R | None]]:
    """Every id of either stream once, in order, with what each stream has of it.

    Raises OutOfOrder when a stream is not strictly ascending.
    """
    lefts, rights = _Stream(left, names[0]), _Stream(right, names[1])
    one, other = await lefts.next(None), await rights.next(None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.id < other.id):
            yield one, None
            one = await lefts.next(one.id if one else None)
        elif one is None or other.id < one.id:
            yield None, other
            other = await rights.next(other.id)
        else:
            yield one, other
            one, other = await lefts.next(one.id), await rights.next(other.id)
