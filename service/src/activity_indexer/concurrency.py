"""How many bulk requests are under way at once: additive increase, multiplicative decrease."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

DECREASE: Final = 0.5


class AdaptiveLimit:
    """A semaphore whose size follows what the server bears.

    Each request that passes quickly adds 1/limit, so that a round of requests adds one; push-back or a latency above
    the target halves the limit, once for each round, since the requests of one round share one cause.
    """

    def __init__(self, maximum: int, latency_target: float, clock: Callable[[], float]) -> None:
        self._maximum = maximum
        self._latency_target = latency_target
        self._clock = clock
        self._limit = float(min(2, maximum))
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._decreased_at = float("-inf")

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Requests that are under way."""
        return self._in_flight

    async def acquire(self) -> float:
        """Wait for a place; returns the time at which it was given."""
        if self._in_flight >= self.limit or self._waiting:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self._in_flight -= 1
                    self._wake()
                raise
        else:
            self._in_flight += 1
        return self._clock()

    def release(self, started: float, *, pushed_back: bool | None) -> None:
        """Give the place back and learn from how the request went; None: there is nothing to learn from it."""
        self._in_flight -= 1
        now = self._clock()
        if pushed_back is None:
            self._wake()
            return
        if pushed_back or now - started > self._latency_target:
            if started > self._decreased_at:
                self._limit = max(1.0, self._limit * DECREASE)
                self._decreased_at = now
        else:
            self._limit = min(float(self._maximum), self._limit + 1 / self._limit)
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._in_flight < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self._in_flight += 1
                place.set_result(None)
