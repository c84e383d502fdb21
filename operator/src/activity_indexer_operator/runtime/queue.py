"""The queue of objects to reconcile: those that changed, those that asked for it, and all of them at intervals.

Level-based: an event only enqueues a key. A key is in at most one place: waiting for its time, in the queue, or in a
pass; enqueued during a pass, it gets one more pass after it. Changed objects come before those that are only resynced:
an operator that cannot keep up with the resyncs still answers a change at once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import structlog

from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.kube.ports import ClusterError
from activity_indexer_operator.tracing.protocol import UNTRACED, Pass, Tracing

log = structlog.get_logger(__name__)

NEVER: Final = float("inf")
"""What a pass returns for an object that needs no further one until an event enqueues it."""
BACKOFF_FIRST: Final = 1.0
CHANGED: Final = 0
DUE: Final = 1
"""How urgent a key is: its object changed, or its time has come."""
HEARTBEAT: Final = Key("Heartbeat", "", "heartbeat")
"""A key that goes through the queue at each resync, and shows that the queue moves."""

Reconcile = Callable[[Key], Awaitable[float | None]]
"""One pass over one object: seconds until the next one, None for the usual resync, NEVER for none."""


Outcome = Literal["done", "refused", "crashed"]
"""How a pass ended: well, with an error of the API server, or with a defect."""
OnPass = Callable[[str, Outcome, float], None]
"""Called after each pass with the key's kind, the outcome, and the seconds that it took."""


class Queue:
    """Reconciles keys, several at a time but each key once at a time.

    `resync` is the time after which an object is reconciled though nothing changed, `backoff_max` the longest wait
    after failures, both in seconds. `concurrency` is the number of passes at the same time.
    """

    def __init__(
        self,
        reconcilers: Mapping[str, Reconcile],
        resync: float,
        *,
        concurrency: int = 4,
        backoff_max: float = 60.0,
        on_pass: OnPass | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self._reconcilers = dict(reconcilers)
        self._resync = resync
        self._concurrency = concurrency
        self._backoff_max = backoff_max
        self._on_pass = on_pass
        self._tracing = tracing
        self._queue: asyncio.PriorityQueue[tuple[int, int, Key]] = asyncio.PriorityQueue()
        self._queued: dict[Key, int] = {}
        self._turns = itertools.count()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._heartbeat_at = time.monotonic()

    def enqueue(self, key: Key, after: float = 0.0) -> None:
        """Makes the key due, now or in `after` seconds; an earlier time that it already has stays."""
        if after > 0:
            self._set_timer(key, after)
            return
        self._push(key, CHANGED)

    @property
    def since_heartbeat(self) -> float:
        """Seconds since the last heartbeat came through the queue; they keep growing while the queue does not move."""
        return time.monotonic() - self._heartbeat_at

    @property
    def waiting(self) -> int:
        """Keys in the queue."""
        return len(self._queued)

    async def run(self) -> None:
        """Works until it is cancelled; passes under way are cancelled too."""
        self._heartbeat_at = time.monotonic()
        self.enqueue(HEARTBEAT)
        async with asyncio.TaskGroup() as group:
            for number in range(self._concurrency):
                group.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._running.add(key)
            try:
                after = await self._pass(key)
            except asyncio.CancelledError:
                self._again.add(key)
                raise
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.enqueue(key)
            if after != NEVER:
                self._set_timer(key, after)

    async def _next(self) -> Key:
        while True:
            urgency, _turn, key = await self._queue.get()
            # A key that has become more urgent is in the queue twice: its later turn is void.
            if self._queued.get(key) == urgency:
                del self._queued[key]
                return key

    def _push(self, key: Key, urgency: int) -> None:
        self._drop_timer(key)
        if key in self._running:
            self._again.add(key)
        elif urgency < self._queued.get(key, DUE + 1):
            self._queued[key] = urgency
            self._queue.put_nowait((urgency, next(self._turns), key))

    async def _pass(self, key: Key) -> float:
        if key == HEARTBEAT:
            self._heartbeat_at = time.monotonic()
            return self._spread()
        started = time.monotonic()
        with self._tracing.reconcile(key) as done:
            outcome, after = await self._tried(key, done)
            done.ended(outcome)
        if self._on_pass:
            self._on_pass(key.kind, outcome, time.monotonic() - started)
        if outcome != "done":
            self._failures[key] = self._failures.get(key, -1) + 1
            return min(self._backoff_max, BACKOFF_FIRST * 2.0 ** min(self._failures[key], 30))
        self._failures.pop(key, None)
        return self._spread() if after is None else after

    async def _tried(self, key: Key, done: Pass) -> tuple[Outcome, float | None]:
        """How the pass ended, and after how many seconds the next one is due, if it says so."""
        try:
            return "done", await self._reconcilers[key.kind](key)
        except ClusterError as error:
            log.warning("reconcile.failed", key=str(key), error=str(error))
            done.failed(type(error).__name__, str(error))
            return "refused", None
        except Exception as error:
            # A defect with one object must not stop the others; it is tried again after growing waits.
            log.exception("reconcile.crashed", key=str(key))
            done.failed(type(error).__name__)
            return "crashed", None

    def _spread(self) -> float:
        """The resync interval, spread out: objects that were created together are not reconciled together for ever."""
        return self._resync * random.uniform(0.9, 1.0)  # noqa: S311 - no secret

    def _set_timer(self, key: Key, after: float) -> None:
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if key in self._queued or (known and not known.cancelled() and known.when() <= loop.time() + after):
            return
        self._drop_timer(key)
        self._timers[key] = loop.call_later(after, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        # The heartbeat shows that keys are taken from the queue, and waits for nothing else.
        self._push(key, CHANGED if key == HEARTBEAT else DUE)

    def _drop_timer(self, key: Key) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
