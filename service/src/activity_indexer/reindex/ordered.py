"""Several writes under way at once, finished in the order in which they were begun."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

UNDER_WAY: Final = 4

B = TypeVar("B")
R = TypeVar("R")


async def in_order(
    batches: AsyncIterator[B], write: Callable[[B], Awaitable[R]], at_once: int = UNDER_WAY
) -> AsyncIterator[tuple[B, R]]:
    """Each batch with what writing it gave, in order: when one is reported, all before it are written too."""
    under_way: deque[tuple[B, asyncio.Task[R]]] = deque()
    try:
        async for batch in batches:
            under_way.append((batch, asyncio.ensure_future(write(batch))))
            if len(under_way) >= at_once:
                yield await _first(under_way)
        while under_way:
            yield await _first(under_way)
    finally:
        for _, task in under_way:
            task.cancel()
        await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)


async def _first(under_way: deque[tuple[B, asyncio.Task[R]]]) -> tuple[B, R]:
    batch, task = under_way[0]
    result = await task
    under_way.popleft()
    return batch, result
