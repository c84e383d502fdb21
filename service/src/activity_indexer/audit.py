"""The audit: every valid event is written to a database, by a consumer group of its own that nothing waits for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import structlog

from activity_indexer.backoff import Backoff
from activity_indexer.ending import Deadline
from activity_indexer.errors import AuditRejected, AuditWentBack, EventError, Refused, Unavailable
from activity_indexer.patience import Patience, Stopped
from activity_indexer.pipeline.decode import decode_record
from activity_indexer.ports import (
    NOTHING_READ,
    AuditEvent,
    AuditOutcome,
    AuditStore,
    Backlog,
    Partition,
    Read,
    Record,
)
from activity_indexer.positions import Begun, Commit, Stored
from activity_indexer.settings import Settings
from activity_indexer.trace_context import trace_contexts
from activity_indexer.tracing import Tracing, Untraced

WATCH_INTERVAL = 5.0
"""How often the lag is measured (seconds)."""


class RecordSource(Protocol):
    """The audit's own consumer group."""

    def begin_from(self, stored: Stored) -> None:
        """Ask this where the partitions of an assignment begin, whatever the group has committed."""

    async def poll(self) -> Sequence[Record]:
        """The next records, in order of offset in each partition; nothing after a while without any.

        Raises Unavailable or Refused.
        """

    def begun(self) -> Sequence[Begun]:
        """Partitions whose reading began, each reported once."""

    def reached(self) -> Mapping[Partition, Commit]:
        """The next offset of each partition, after all that poll handed out."""

    async def commit(self) -> None:
        """Commit all that poll handed out. Raises Unavailable or Refused."""

    async def close(self) -> None:
        """Leave the group; the next poll joins it again."""

    async def lag(self) -> Mapping[Partition, Backlog]:
        """What of each assigned partition is not committed. Raises Unavailable or Refused."""


class AuditMetrics(Protocol):
    """What the audit counts."""

    def events(self, outcome: AuditOutcome, count: int) -> None:
        """This many events have this outcome."""

    def ties(self, count: int) -> None:
        """This many events are new, and have the timestamp and rank of another one."""

    def batch(self, events: int, seconds: float) -> None:
        """A batch was written."""

    def lag(self, partitions: Mapping[Partition, Backlog]) -> None:
        """What of each partition the audit has not written; partitions of other members are not among them."""

    def dependency(self, name: str, *, up: bool, reason: str = "") -> None:
        """`postgresql` or `kafka` takes calls, or does not and why."""


class Audit:
    """Reads, decodes, writes, commits. It waits for PostgreSQL as long as it takes, and never raises for it."""

    def __init__(
        self,
        source: RecordSource,
        store: AuditStore,
        settings: Settings,
        metrics: AuditMetrics,
        clock: Callable[[], float] = time.time,
        tracing: Tracing | None = None,
    ) -> None:
        self._source = source
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._tracing = tracing or Untraced()
        self._aside: dict[tuple[int, int], AuditOutcome] = {}
        self._log = structlog.get_logger()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._prepared = asyncio.Event()
        self._stored: Mapping[Partition, Commit] = {}
        self._since: dict[Partition, int] = {}
        source.begin_from(self._ask_stored)
        self._at_once = settings.database.batch_size
        backoff = Backoff(settings.consumer.backoff_initial, settings.consumer.backoff_max)
        self.database = Patience("postgresql", backoff, self._stopping, metrics.dependency)
        self.kafka = Patience("kafka", backoff, self._stopping, metrics.dependency)

    async def run(self) -> None:
        """Work until `stop` is called. Raises only for defects of the program."""
        self._task = asyncio.current_task()
        watch = asyncio.create_task(self._watch())
        try:
            while not self._stopping.is_set():
                await self._turn()
                if watch.done():
                    watch.result()  # it ends only by a defect
        except Stopped:
            pass
        finally:
            self._task = None
            watch.cancel()
            await asyncio.wait({watch})
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

    async def _turn(self) -> None:
        records = await self.kafka.call(self._source.poll)
        begun, reached = self._source.begun(), self._source.reached()
        if not self._prepared.is_set():  # only now: without the database, too, a member of the group knows what waits
            await self.database.call(self._prepare)
        try:
            for each in begun:
                await self._begin(each)
            read = self._read(reached)
            if records:
                await self._take(records, read)
            elif read:
                await self.database.call(partial(self._save, (), read))
        except AuditWentBack as error:
            self._log.warning("audit.went_back", reason=str(error))
            self._since.clear()
            await self._source.close()
            return
        self._since |= {place: each.until for place, each in read.items()}
        try:
            await self._source.commit()
        except (Unavailable, Refused) as error:  # the next turn commits the same or more
            self._log.warning("audit.commit_failed", reason=str(error))

    async def _ask_stored(self, _: Collection[Partition]) -> Mapping[Partition, Commit]:
        """Where reading goes on. The turn of the audit waits for the database, and reports it."""
        await self._prepared.wait()
        self._stored = await self._store.offsets()
        return self._stored

    async def _begin(self, begun: Begun) -> None:
        """Keep where reading began, when the store does not say so itself."""
        self._since[begun.partition] = begun.commit.offset
        stored = self._stored.get(begun.partition, Commit(0))
        same_topic = stored.belongs_to(begun.commit.topic_id)
        if begun.loss or begun.commit.offset != stored.offset or not same_topic:
            await self.database.call(partial(self._store.begin, *begun))

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
                self._metrics.lag(await self._source.lag())

    async def _take(self, records: Sequence[Record], read: Mapping[Partition, Read]) -> None:
        self._aside.clear()
        with self._tracing.batch(records, trace_contexts(records)) as trace:
            outcomes: list[AuditOutcome] = []
            try:
                outcomes = await self._settle(records, read)
            finally:
                trace.settled(dict(enumerate(outcomes)), {})

    async def _settle(self, records: Sequence[Record], read: Mapping[Partition, Read]) -> list[AuditOutcome]:
        """What became of the records, one by one: the same facts in metrics, log and trace."""
        started = time.monotonic()
        events = self._decode(records)
        consumer = self._settings.consumer
        most = min(consumer.batch_bytes, consumer.memory.audit_statement)
        for batch in (parts := list(batches(events, self._settings.database.batch_size, most)) or [()]):
            await self._write(batch, read if batch is parts[-1] else NOTHING_READ)
        seconds = time.monotonic() - started
        outcomes = self._outcomes(records, events)
        totals = Counter(outcomes)
        for outcome, count in totals.items():
            self._metrics.events(outcome, count)
        self._metrics.batch(len(events), seconds)
        told = {outcome.value: totals[outcome] for outcome in AuditOutcome if totals[outcome]}
        self._log.info("audit.batch_settled", records=len(records), seconds=round(seconds, 4), **told)
        return outcomes

    def _outcomes(self, records: Sequence[Record], events: Sequence[AuditEvent]) -> list[AuditOutcome]:
        valid = {(event.partition, event.offset) for event in events}
        places = ((record.partition, record.offset) for record in records)
        return [
            self._aside.get(place, AuditOutcome.WRITTEN if place in valid else AuditOutcome.INVALID) for place in places
        ]

    def _decode(self, records: Sequence[Record]) -> list[AuditEvent]:
        latest = int((self._clock() + self._settings.consumer.max_clock_skew) * 1_000_000)
        events: list[AuditEvent] = []
        for record in records:
            found = decode_record(record, latest)
            if not isinstance(found, EventError):  # the indexer dead-letters such a record, and reports why
                events.append(AuditEvent(found, record.topic, record.partition, record.offset))
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
        """One try. After an outage the schema is looked at again: the database may be another, or a restored one."""
        try:
            if not self._prepared.is_set():
                await self._prepare()
            for start in range(0, len(events) or 1, self._at_once):
                some = events[start : start + self._at_once]
                ties = await self._store.write(some, read if start + self._at_once >= len(events) else NOTHING_READ)
                self._metrics.ties(ties)
        except (Unavailable, Refused):
            self._prepared.clear()
            self._at_once = max(1, self._at_once // 2)  # a batch that is too slow for DATABASE_TIMEOUT passes in parts
            raise
        self._at_once = min(self._at_once * 2, self._settings.database.batch_size)

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
    """The events in runs of at most `limit` events and `limit_bytes` bytes of bodies; a bigger event stands alone."""
    start = size = 0
    for position, event in enumerate(events):
        body = len(event.event.body)
        if position > start and (position - start == limit or size + body > limit_bytes):
            yield events[start:position]
            start, size = position, 0
        size += body
    if start < len(events):
        yield events[start:]
