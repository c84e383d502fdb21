"""Takes records in, keeps a bounded number of batches under way, and commits what is settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from activity_indexer.breaker import Breaker
from activity_indexer.ending import Deadline
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.index_watch import CHECK_TIMEOUT, Standing
from activity_indexer.memory import MemoryShares
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batch, Batcher
from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.ports import Record
from activity_indexer.positions import Ends, Partition
from activity_indexer.published import published_at
from activity_indexer.reports import (
    BreakerClosed,
    CommitFailed,
    Emit,
    EventsPending,
    EventsReadAgain,
    IntakeTurned,
    LagMeasured,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsRevoked,
    RecordsPolled,
)

POLL_TIMEOUT = 0.5
"""Longest wait for records, and so for the intake to notice anything else (seconds)."""


class RecordSource(Protocol):
    """A member of the consumer group."""

    async def poll(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:  # noqa: ASYNC109
        """Records of the current assignment, waiting for them this many seconds at most. Raises Unavailable."""

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets. Raises Unavailable when they are not committed."""

    async def position(self, partition: Partition) -> int | None:
        """The next offset that poll hands out; None when it is not known. Raises Unavailable."""

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Hand out these partitions from these offsets on; those that are not assigned any more are left out."""

    async def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, Ends]:
        """Where the partitions end now. Raises Unavailable."""


class Sink(Protocol):
    """Where events go, as far as the intake has to know."""

    @property
    def as_expected(self) -> bool:
        """Whether it takes events."""

    async def confirm(self, within: float) -> Standing:
        """What holds for all that was settled before the call; an answer is waited for at most this long (seconds)."""


class _Trusted:
    """A sink that is always as expected."""

    as_expected = True

    async def confirm(self, within: float) -> Standing:  # noqa: ARG002 - it knows
        return Standing.SAFE


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Times in seconds; `spare_batches` are prepared beyond the requests that may be under way.

    Nothing is taken in while what was taken has a footprint of `memory` bytes.

    `drain_timeout` is for a rebalance; the end of the process has a deadline of its own.
    """

    fetch_max_records: int
    commit_interval: float
    drain_timeout: float
    spare_batches: int = 1
    poll_timeout: float = POLL_TIMEOUT
    watch_interval: float = 5.0
    memory: int = MemoryShares().intake


class Indexer:
    """One member of the group: intake → batches → commits.

    What was polled waits in the batcher or is under way; both are given up when a rebalance or the end does not leave
    the time to finish them, and are delivered again. What is due leaves as soon as there is a place for a request:
    at the turn of the intake, or when a request ends. Records are taken in until the next request is full.
    """

    def __init__(
        self,
        source: RecordSource,
        batcher: Batcher,
        process: Callable[[Batch], Awaitable[None]],
        places: Callable[[], int],
        breaker: Breaker,
        emit: Emit,
        limits: IntakeLimits,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sink: Sink | None = None,
        rereads: Rereads | None = None,
    ) -> None:
        self._source = source
        self._batcher = batcher
        self._process = process
        self._places = places
        self._breaker = breaker
        self._emit = emit
        self._limits = limits
        self._clock = clock
        self._now = now
        self._sink = sink or _Trusted()
        self._rereads = rereads if rereads is not None else Rereads()
        self._in_doubt = False
        self._revoked_at: float | None = None
        self._offsets: dict[Partition, PartitionOffsets] = {}
        self._held: dict[Partition, tuple[int, float]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._placeless: set[asyncio.Task[None]] = set()
        self._place_freed = asyncio.Event()
        self._footprint_under_way = 0
        self._stopping = False
        self._crash: BaseException | None = None
        self._committing = asyncio.Lock()

    async def run(self) -> None:
        """Take in and process until asked to stop. Raises what a batch raised unexpectedly."""
        tasks = [asyncio.create_task(self._commit_often()), asyncio.create_task(self._watch())]
        try:
            while not self._stopping:
                await self._turn()
                if self._crash is not None:
                    raise self._crash
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self) -> None:
        if self._in_doubt:
            await self._read_again()
        self._start_requests()
        self._emit(IntakeTurned(self._batcher.buffered))
        if self._batcher.full or not self._breaker.lets_in() or not self._sink.as_expected or self._is_memory_used_up():
            await self._wait_for_a_place()
            return
        polled = await self._source.poll(self._poll_timeout(), self._limits.fetch_max_records)
        if polled:
            self._take(polled)
            await asyncio.sleep(0)  # a poll that finds records does not wait, and the next turn begins with another one

    def _poll_timeout(self) -> float:
        """Until a batch is old enough to go."""
        due = self._batcher.due_in
        if due is None or (due == 0 and self._places_taken >= self._places()):
            return self._limits.poll_timeout  # what is due goes when a request ends
        return min(due, self._limits.poll_timeout)

    def _is_memory_used_up(self) -> bool:
        """Whether nothing more may be taken in; a batch that is not full is not waited for then."""
        return self._batcher.footprint + self._footprint_under_way >= self._limits.memory

    def _take(self, polled: Mapping[Partition, Sequence[Record]]) -> None:
        for partition in polled:  # records may come before `assigned` is called for their partition
            self._offsets.setdefault(partition, PartitionOffsets())
        size = self._batcher.add(polled, self._offsets)
        records = sum(map(len, polled.values()))
        self._emit(RecordsPolled(records, size))
        self._breaker.polled(records)

    def _start_requests(self, *, everything: bool = False) -> None:
        """Let what is due go where there are places; `everything` that waits counts as due.

        A request beyond the places prepares its events meanwhile, but only when it is full: others may join it.
        """
        while (free := self._places() - self._places_taken) > -self._limits.spare_batches:
            cut = self._batcher.cut(everything=everything or self._is_memory_used_up())
            if cut is None or (free <= 0 and not (cut.full or everything)):
                break
            if self._under_way and self._footprint_under_way + cut.footprint > self._limits.memory:
                break  # each copies its records, and alone it may take more than there is
            batch = self._batcher.take(cut.records)
            self._footprint_under_way += cut.footprint
            task = asyncio.create_task(self._run_batch(batch))
            self._under_way.add(task)
            batch.requests_done = partial(self._without_place, task)
            task.add_done_callback(partial(self._ended, cut.footprint))

    def _ended(self, footprint: int, task: asyncio.Task[None]) -> None:
        """A batch has ended, even if it was cancelled before it began: its place is free."""
        self._under_way.discard(task)
        self._placeless.discard(task)
        self._place_freed.set()
        self._footprint_under_way -= footprint
        if not task.cancelled() and self._crash is None:
            self._start_requests()

    def _without_place(self, task: asyncio.Task[None]) -> None:
        """A batch waits for the dead-letter topic alone: others may have its place."""
        self._placeless.add(task)
        self._place_freed.set()
        self._start_requests()

    @property
    def _places_taken(self) -> int:
        """By batches under way; as many as there are places may wait for the dead-letter topic beside them."""
        return len(self._under_way) - min(len(self._placeless), self._places())

    async def _run_batch(self, batch: Batch) -> None:
        try:
            await self._process(batch)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a defect: run() raises it, the process ends and says so
            self._crash = error

    async def _wait_for_a_place(self) -> None:
        self._place_freed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.poll_timeout):
                await self._place_freed.wait()

    def stop(self) -> None:
        """Take nothing in any more; `run` returns soon, `drain` finishes the rest."""
        self._stopping = True

    async def drain(self, deadline: Deadline) -> None:
        """Finish what was taken in, as far as there is time; give up the rest; commit what is settled."""
        self._start_requests(everything=True)
        while len(self._under_way) > self._breaker.held and (left := deadline.to_finish):
            wait = min(left, self._limits.poll_timeout)
            await asyncio.wait(self._under_way, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            self._start_requests(everything=True)
        await self._give_up(deadline)
        await self._commit_by(deadline)

    async def _commit_by(self, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout(deadline.to_commit):
                await self._commit(deadline.to_commit / 2)
        except TimeoutError:
            self._emit(CommitFailed("Kafka did not answer in the time that is left for it"))

    async def _give_up(self, deadline: Deadline) -> None:
        self._batcher.clear()
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=deadline.to_commit)

    async def _read_again(self) -> None:
        """Read on from the last commit: what was settled since may be missing from the index."""
        async with self._committing:
            self._batcher.clear()
            under_way = set(self._under_way)
            for task in under_way:
                task.cancel()
            if under_way:
                await asyncio.wait(under_way)
            ranges = {partition: found for partition, each in self._offsets.items() if (found := each.reread)}
            self._offsets = {partition: PartitionOffsets() for partition in self._offsets}
            for partition, (_, end) in ranges.items():
                self._rereads.expect(partition, end)
            self._give_breaker_up()
            self._in_doubt = False
            await self._source.seek({partition: start for partition, (start, _) in ranges.items()})
        self._emit(EventsReadAgain(sum(end - start for start, end in ranges.values())))

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """The group gave this member these partitions."""
        for partition in partitions:
            self._offsets.setdefault(partition, PartitionOffsets())
        self._emit(
            PartitionsAssigned(partitions, None if self._revoked_at is None else self._clock() - self._revoked_at)
        )
        self._revoked_at = None
        await self._rereads.assigned(partitions)

    async def revoked(self) -> None:
        """The group takes all partitions back, to hand them out again."""
        self._revoked_at = self._clock()
        self._emit(PartitionsRevoked())
        await self.drain(Deadline.after(self._limits.drain_timeout, self._clock))
        self._offsets = {}
        self._held = {}
        self._in_doubt = False
        self._rereads.revoked()
        self._give_breaker_up()

    def _give_breaker_up(self) -> None:
        """For when the batch that held it open was given up, and none is left to close it."""
        if self._breaker.is_open:
            self._breaker.give_up()
            self._emit(BreakerClosed())

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(self._limits.commit_interval)
            await self._commit()

    async def _commit(self, within: float = CHECK_TIMEOUT) -> None:
        async with self._committing:  # an older mark must not overtake a newer one
            await self._commit_marks(within)

    async def _commit_marks(self, within: float) -> None:
        trackers = dict(self._offsets)
        marks = {
            partition: mark for partition, tracker in trackers.items() if (mark := tracker.uncommitted()) is not None
        }
        if not marks or self._in_doubt:
            return
        match await self._sink.confirm(within):
            case Standing.REREAD:
                self._in_doubt = True
                return
            case Standing.UNKNOWN:
                return
        try:
            await self._source.commit(marks)
        except ActivityIndexerError as error:
            self._emit(CommitFailed(str(error)))
            return
        for partition, mark in marks.items():
            trackers[partition].committed(mark)
        self._emit(OffsetsCommitted(marks))
        await self._rereads.committed(marks)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.watch_interval)
            await self._measure_lag()

    async def _measure_lag(self) -> None:
        """Report each partition's lag and what is left to do; pass over what holds no records."""
        partitions = list(self._offsets)
        try:
            ends = await self._source.ends(partitions) if partitions else {}
            left = [await self._left(partition, end) for partition, end in ends.items()]
        except ActivityIndexerError:
            return
        self._emit(EventsPending(sum(left)))

    async def _left(self, partition: Partition, ends: Ends) -> int:
        """Events of a partition that can be settled and are not yet."""
        if (tracker := self._offsets.get(partition)) is None:
            return 0
        position = await self._source.position(partition)
        if position is not None:
            tracker.skip_to(position)
        mark = tracker.mark()
        if mark is None:
            return 0
        held_for = self._held_for(partition, ends)
        left, lag = max(0, ends.stable - mark), max(0, ends.end - mark)
        seconds: float | None = held_for
        if left or not lag:
            now = self._now()
            published = published_at(tracker.published, now) if lag else now
            seconds = None if published is None else now - published
        self._emit(LagMeasured(partition, lag, ends.held, held_for, seconds))
        return left

    def _held_for(self, partition: Partition, ends: Ends) -> float:
        """For how long the same open transaction has held back what is behind it (seconds)."""
        if not ends.held:
            self._held.pop(partition, None)
            return 0.0
        stable, since = self._held.get(partition, (-1, 0.0))
        if stable != ends.stable:
            since = self._clock()
            self._held[partition] = ends.stable, since
        return self._clock() - since
