"""Which objects are due: those that changed, and all of them now and then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from activity_indexer_operator.api import Key
from activity_indexer_operator.ports import ClusterError

log = logging.getLogger(__name__)


class Worker:
    """Reconciles one object after the other; a change during a pass causes one more.

    `resync` is the time after which an object is looked at though nothing changed, in seconds: partitions are
    added and Deployments are scaled by others without an event here.
    """

    def __init__(self, reconcile: Callable[[Key], Awaitable[None]], resync: float) -> None:
        self._reconcile = reconcile
        self._resync = resync
        self._generations: dict[Key, int] = {}
        self._due: set[Key] = set()
        self._changed = asyncio.Event()
        self._last_round = time.monotonic()

    def seen(self, key: Key, generation: int) -> None:
        """The object exists; it is due if its spec is new. Changes of the status alone, ours, are not."""
        if self._generations.get(key) != generation:
            self._generations[key] = generation
            self._due.add(key)
            self._changed.set()

    def gone(self, key: Key) -> None:
        """The object was deleted."""
        self._generations.pop(key, None)
        self._due.discard(key)

    @property
    def idle_seconds(self) -> float:
        """Time since the last round ended."""
        return time.monotonic() - self._last_round

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._resync)
            self._changed.clear()
            due, self._due = self._due or set(self._generations), set()
            for key in sorted(due):
                await self._pass(key)
            self._last_round = time.monotonic()

    async def _pass(self, key: Key) -> None:
        try:
            await self._reconcile(key)
        except ClusterError as error:
            log.warning("reconcile.failed", extra={"key": str(key), "error": str(error)})
        except Exception:
            # A defect with one object must not stop the others; the next resync tries again.
            log.exception("reconcile.crashed", extra={"key": str(key)})
        self._last_round = time.monotonic()
