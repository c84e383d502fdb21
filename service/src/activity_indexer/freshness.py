"""How fresh search is: now and then one document is followed until a search finds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from activity_indexer.errors import Refused, Unavailable
from activity_indexer.reports import BatchSettled, Emit, SearchProbed, Written, on

PATIENCE: Final = 60.0
"""How long a document is searched for (seconds)."""

SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0
ACCURACY: Final = 0.1
"""Share of the time so far that passes between two searches, within the limits above (seconds)."""


class SearchedIndex(Protocol):
    """What is searched."""

    async def searchable(self, identifier: str) -> int | None:
        """Version of a document as a search finds it; None when it finds none. Raises Unavailable or Refused."""


class Freshness:
    """Follows one document each `interval` seconds at most; 0: none. One at a time."""

    def __init__(
        self,
        index: SearchedIndex,
        emit: Emit,
        interval: float,
        now: Callable[[], float] = time.time,
        patience: float = PATIENCE,
    ) -> None:
        self._index = index
        self._emit = emit
        self._interval = interval
        self._now = now
        self._patience = patience
        self._next = 0.0
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("activity_indexer.freshness")

    @on(BatchSettled)
    def follow(self, batch: BatchSettled) -> None:
        """Follow the batch's example if it is time for one."""
        now = self._now()
        if batch.example is None or not self._interval or now < self._next or (self._task and not self._task.done()):
            return
        self._next = now + self._interval
        self._task = asyncio.create_task(self._watch(batch.example))

    async def stop(self) -> None:
        """Let go of what is followed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _watch(self, written: Written) -> None:
        try:
            seen = await self._wait_for(written)
        except Unavailable:
            self._emit(SearchProbed("failed"))
        except Refused as error:
            self._interval = 0.0
            self._emit(SearchProbed("failed"))
            self._log.warning("freshness.not_measured", reason=str(error), setting="CONSUMER_FRESHNESS_INTERVAL=0")
        else:
            self._emit(SearchProbed("seen", seen - written.published) if seen else SearchProbed("missed"))

    async def _wait_for(self, written: Written) -> float | None:
        """When a search found this version or a newer one (seconds since the epoch)."""
        started = self._now()
        while (passed := self._now() - started) < self._patience:
            version = await self._index.searchable(written.identifier)
            if version is not None and version >= written.version:
                return self._now()
            await asyncio.sleep(min(LONGEST_WAIT, max(SHORTEST_WAIT, ACCURACY * passed)))
        return None
