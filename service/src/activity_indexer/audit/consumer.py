"""The audit: every valid event is written to a database, by a consumer group of its own that nothing waits for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import structlog

from activity_common.trace_context import trace_contexts
from activity_indexer.backoff import Backoff
from activity_indexer.ending import Deadline
from activity_indexer.errors import AuditRejected, AuditWentBack, EventError, Refused, Unavailable
from activity_indexer.patience import Patience, Stopped
from activity_indexer.pipeline.decode import decode_record
from activity_indexer.ports import (
    NOTHING_READ,
    AuditEvent,
    AuditOutcome,
    AuditSource,
    AuditStore,
    Polled,
    Read,
)
from activity_indexer.positions import Begun, Commit, Partition
from activity_indexer.reports import AuditBatchWritten, AuditLagMeasured, AuditTiesFound, Dependency, Emit
from activity_indexer.responsive import SLICE
from activity_indexer.settings import Settings
from activity_indexer.tracing import Tracing, Untraced

WATCH_INTERVAL = 5.0
"""How often the lag is measured (seconds)."""
LOOK_BACK_INTERVAL = 5.0
"""How often it is made sure that the database still has what was written (seconds)."""


class _Turn(NamedTuple):
    """A poll, and for each of its records the event in it, or None."""

    polled: Polled
    events: Sequence[AuditEvent | None]
    stored: dict[Partition, Commit]


class Audit:
    """Reads, decodes, writes, commits. It waits for PostgreSQL as long as it takes, and never raises for it.

    While PostgreSQL writes what one poll gave, the next is read, and decoded where the source did not find the events.
    """

    def __init__(
        self,
        *,
        source: AuditSource,
        store: AuditStore,
        settings: Settings,
        emit: Emit,
        clock: Callable[[], float] = time.time,
        tracing: Tracing | None = None,
    ) -> None:
        self._source = source
        self._store = store
        self._settings = settings
        self._emit = emit
        self._clock = clock
        self._tracing = tracing or Untraced()
        self._aside: dict[tuple[int, int], AuditOutcome] = {}
        self._log = structlog.get_logger()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._prepared = asyncio.Event()
        self._stored: dict[Partition, Commit] = {}
        self._since: dict[Partition, int] = {}
        self._looked_back = time.monotonic()
        self._upcoming: asyncio.Task[_Turn]
        source.begin_from(self._ask_stored)
        self._at_once = settings.database.batch_size
        backoff = Backoff(settings.consumer.backoff_initial, settings.consumer.backoff_max)
        self.database = Patience(Dependency.POSTGRES, backoff, self._stopping, emit)
        self.kafka = Patience(Dependency.KAFKA, backoff, self._stopping, emit)

    async def run(self) -> None:
        """Work until `stop` is called. Raises only for defects of the program."""
        self._task = asyncio.current_task()
        watch = asyncio.create_task(self._watch())
        self._upcoming = asyncio.create_task(self._read_on())
        # beside joining the group: without the database, too, a member of the group knows what waits
        preparing = asyncio.create_task(self.database.call(self._prepare))
        try:
            while not self._stopping.is_set():
                turn = await self._upcoming
                await preparing
                self._upcoming = asyncio.create_task(self._read_on())
                await self._take_turn(turn)
                if watch.done():
                    watch.result()  # it ends only by a defect
        except Stopped:
            pass
        finally:
            self._task = None
            background = {watch, preparing, self._upcoming}
            for task in background:
                task.cancel()
            await asyncio.wait(background)
        self._log.info("audit.stopped")

    async def stop(self, deadline: Deadline) -> None:
        """Finish what is under way, as far as there is time; what is not committed comes again."""
        self._stopping.set()
        if (task := self._task) is None:
            return
        _, running = await asyncio.wait({task}, timeout=deadline.to_finish)
        if running:
            self._log.warning("audit.given_up", seconds=deadline.budget)
            task.cancel()
            await asyncio.wait({task}, timeout=deadline.to_commit)

    async def _read_on(self) -> _Turn:
        polled = await self.kafka.call(self._source.poll)
        stored = self._stored  # a later assignment asks again while this turn waits
        return _Turn(polled, await self._decode(polled), stored)

    async def _take_turn(self, turn: _Turn) -> None:
        polled = turn.polled
        if polled.begun and not self._source.is_current(polled):
            return  # their new owner begins where the store is, which has nothing of this
        try:
            for each in polled.begun:
                await self._begin(each, turn.stored)
            await self._look_back(polled.reached)
            read = self._read(polled.reached)
            if polled.records:
                await self._take(turn, read)
            elif read:
                await self.database.call(partial(self._save, (), read))
        except AuditWentBack as error:
            self._log.warning("audit.went_back", reason=str(error))
            await self._go_back()
            return
        self._since |= {place: each.until for place, each in read.items()}
        try:
            await self._source.commit(polled)
        except (Unavailable, Refused) as error:  # the next turn commits the same or more
            self._log.warning("audit.commit_failed", reason=str(error))

    async def _go_back(self) -> None:
        """Join the group again, and begin where the database is; what was read on meanwhile follows nothing."""
        self._upcoming.cancel()
        await asyncio.wait({self._upcoming})
        self._since.clear()
        await self._source.close()
        self._upcoming = asyncio.create_task(self._read_on())

    async def _look_back(self, reached: Mapping[Partition, Commit]) -> None:
        """Raise AuditWentBack when the database lacks what was written: a write sees that only where more is read."""
        now = time.monotonic()
        if now - self._looked_back < LOOK_BACK_INTERVAL:
            return
        self._looked_back = now
        await self._make_sure_of({place: Commit(self._since[place]) for place in reached if place in self._since})

    async def _make_sure_of(self, written: Mapping[Partition, Commit]) -> None:
        stored = await self.database.call(self._offsets)
        if any(stored.get(place, Commit(0)).offset < commit.offset for place, commit in written.items()):
            raise AuditWentBack("the database lacks what was written: it was restored from an older backup")

    async def _ask_stored(self, _: Collection[Partition]) -> Mapping[Partition, Commit]:
        """Where reading goes on. The turn of the audit waits for the database, and reports it."""
        await self._prepared.wait()
        self._stored = dict(await self._store.offsets())
        return self._stored

    async def _begin(self, begun: Begun, known: dict[Partition, Commit]) -> None:
        """Keep where reading began, when the store does not say so itself."""
        self._since[begun.partition] = begun.commit.offset
        stored = known.get(begun.partition, Commit(0))
        same_topic = stored.belongs_to(begun.commit.topic_id)
        if begun.loss or begun.commit.offset != stored.offset or not same_topic:
            await self._make_sure_of({begun.partition: stored})
            await self.database.call(partial(self._store.begin, *begun))
            known[begun.partition] = begun.commit

    def _read(self, reached: Mapping[Partition, Commit]) -> dict[Partition, Read]:
        """What was read since the last write."""
        since = self._since
        return {
            place: Read(since[place], commit.offset, commit.topic_id)
            for place, commit in reached.items()
            if place in since and commit.offset > since[place]
        }

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            with suppress(Unavailable, Refused):
                self._emit(AuditLagMeasured(await self._source.lag()))

    async def _take(self, turn: _Turn, read: Mapping[Partition, Read]) -> None:
        self._aside.clear()
        records = turn.polled.records
        with self._tracing.batch(records, trace_contexts(records)) as trace:
            outcomes: list[AuditOutcome] = []
            try:
                outcomes = await self._settle(turn, read)
            finally:
                trace.settled(dict(enumerate(outcomes)), {})

    async def _settle(self, turn: _Turn, read: Mapping[Partition, Read]) -> list[AuditOutcome]:
        """The outcome of each record: the same facts in metrics, log and trace."""
        started = time.monotonic()
        events = [event for event in turn.events if event is not None]
        consumer = self._settings.consumer
        most = min(consumer.batch_bytes, consumer.memory.audit_statement)
        for batch in (parts := list(batches(events, self._settings.database.batch_size, most)) or [()]):
            await self._write(batch, read if batch is parts[-1] else NOTHING_READ)
        seconds = time.monotonic() - started
        written, invalid = AuditOutcome.WRITTEN, AuditOutcome.INVALID
        outcomes = [written if event is not None else invalid for event in turn.events]
        if self._aside:
            for at, record in enumerate(turn.polled.records):
                outcomes[at] = self._aside.get((record.partition, record.offset), outcomes[at])
        totals = Counter(outcomes)
        self._emit(AuditBatchWritten(totals, seconds))
        counts = {outcome.value: totals[outcome] for outcome in AuditOutcome if totals[outcome]}
        self._log.info("audit.batch_settled", records=len(outcomes), seconds=round(seconds, 4), **counts)
        return outcomes

    async def _decode(self, polled: Polled) -> list[AuditEvent | None]:
        """The events in the records, with a pause after each slice: the indexer shares the event loop."""
        latest = int((self._clock() + self._settings.consumer.max_clock_skew) * 1_000_000)
        clock = time.perf_counter
        events: list[AuditEvent | None] = []
        until = clock() + SLICE
        for record, known in zip_longest(polled.records, polled.found):
            found = known or decode_record(record, latest)
            if isinstance(found, EventError):
                events.append(None)  # the indexer dead-letters it, and says why
            else:
                events.append(AuditEvent(found, record.topic, record.partition, record.offset))
            if clock() > until:
                await asyncio.sleep(0)
                until = clock() + SLICE
        return events

    async def _write(self, events: Sequence[AuditEvent], read: Mapping[Partition, Read]) -> None:
        """Write the events; those that the database refuses are found by halves and put aside.

        What is read with them is kept with the last of them.
        """
        try:
            await self.database.call(partial(self._save, events, read))
        except AuditRejected as refusal:
            if len(events) <= 1:
                for event in events:
                    await self._put_aside(event, str(refusal))
                await self.database.call(partial(self._save, (), read))
                return
            middle = len(events) // 2
            await self._write(events[:middle], NOTHING_READ)
            await self._write(events[middle:], read)

    async def _save(self, events: Sequence[AuditEvent], read: Mapping[Partition, Read]) -> None:
        """One try. A batch that is too slow for DATABASE_TIMEOUT passes in parts."""
        try:
            async with self._schema():
                for start in range(0, len(events) or 1, self._at_once):
                    some = events[start : start + self._at_once]
                    ties = await self._store.write(some, read if start + self._at_once >= len(events) else NOTHING_READ)
                    self._emit(AuditTiesFound(ties))
        except (Unavailable, Refused):
            self._at_once = max(1, self._at_once // 2)
            raise
        self._at_once = min(self._at_once * 2, self._settings.database.batch_size)

    async def _offsets(self) -> Mapping[Partition, Commit]:
        """One try."""
        async with self._schema():
            return await self._store.offsets()

    @asynccontextmanager
    async def _schema(self) -> AsyncIterator[None]:
        """After an outage the database is looked at again: it may be another, or a restored one."""
        try:
            if not self._prepared.is_set():
                await self._prepare()
            yield
        except (Unavailable, Refused):
            self._prepared.clear()
            self._looked_back = float("-inf")
            raise

    async def _prepare(self) -> None:
        await self._store.prepare()
        self._prepared.set()

    async def _put_aside(self, event: AuditEvent, reason: str) -> None:
        place = {"topic": event.topic, "partition": event.partition, "offset": event.offset}
        try:
            await self.database.call(partial(self._store.reject, event, reason))
        except AuditRejected:
            self._log.error("audit.event_dropped", reason=reason, **place)
            outcome = AuditOutcome.DROPPED
        else:
            self._log.warning("audit.event_rejected", reason=reason, **place)
            outcome = AuditOutcome.REJECTED
        self._aside[event.partition, event.offset] = outcome


def batches(events: Sequence[AuditEvent], limit: int, limit_bytes: int) -> Iterator[Sequence[AuditEvent]]:
    """The events in runs of at most `limit` events and `limit_bytes` bytes of bodies; a bigger event is alone."""
    start = size = 0
    for position, event in enumerate(events):
        body = len(event.event.body)
        if position > start and (position - start == limit or size + body > limit_bytes):
            yield events[start:position]
            start, size = position, 0
        size += body
    if start < len(events):
        yield events[start:]
