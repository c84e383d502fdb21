"""The audit's own consumer group, by aiokafka."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.address import HttpAddress
from activity_indexer.adapters.kafka.audit_beside import BesideIndexer
from activity_indexer.adapters.kafka.client import mapped, within
from activity_indexer.adapters.kafka.consumers import check_instance, join_group
from activity_indexer.adapters.kafka.group_member import GroupMember
from activity_indexer.adapters.kafka.polling import BoundedPoll
from activity_indexer.adapters.kafka.positions import KnownTopic, Positions
from activity_indexer.errors import ActivityIndexerError, EventError, Unavailable
from activity_indexer.event import Event
from activity_indexer.pipeline.decoded_events import DecodedEvents
from activity_indexer.ports import Backlog, Polled, Record
from activity_indexer.positions import Begun, Commit, Ends, Partition, Start, Stored
from activity_indexer.published import published_at
from activity_indexer.reports import Emit, unreported
from activity_indexer.settings import Settings

BESIDE_INTERVAL: Final = 0.05
"""How often is looked whether the indexer has decoded more (seconds)."""

LEAVE_TIMEOUT: Final = 5.0
"""Time to leave the group at the end (seconds)."""


class KafkaAuditSource:
    """A ports.AuditSource. It joins the group at the first poll, and joins again when its client has broken down.

    `_handed` and `_settled` are next offsets: of what poll handed out, and of what is committed. Both are forgotten in
    a rebalance, so that an offset of an earlier assignment is never committed over a newer one.

    The store of the audit knows where reading goes on; what the group has committed only shows how far it is.

    `_waiting` is what was handed out and is not committed, `_since` a time before which no record was published that
    poll has yet to hand out (seconds since the epoch). `_assignment` counts assignments.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        address: HttpAddress | None = None,
        emit: Emit = unreported,
        decoded: DecodedEvents | None = None,
    ) -> None:
        self._settings = settings
        self._beside = BesideIndexer(decoded or DecodedEvents(0))
        self._emit = emit
        self._address = address
        self._shares = settings.consumer.memory
        self._poll = BoundedPoll(self._shares.poll)
        self._log = structlog.get_logger()
        self._known = KnownTopic()
        self._consumer: Any = None
        self._positions: Any = None
        self._tried = False
        self._stored: Stored | None = None
        self._begun: list[Begun] = []
        self._handed: dict[Partition, int] = {}
        self._settled: dict[Partition, int] = {}
        self._waiting: dict[Partition, deque[_Waiting]] = {}
        self._since: dict[Partition, float] = {}
        self._assignment = 0
        self._assigned_at = time.time()
        self._moved_at = time.monotonic()

    def begin_from(self, stored: Stored) -> None:
        """Ask this where the partitions of an assignment begin."""
        self._stored = stored

    async def poll(self) -> Polled:
        """At most DATABASE_BATCH_SIZE records, and the audit's share of the memory.

        They are collected for CONSUMER_COMMIT_INTERVAL.

        Raises Unavailable or Refused.
        """
        if self._consumer is None:
            await self._join()
        self._positions.check()
        records, found = await self._collect()
        if records:
            self._moved_at = time.monotonic()
        elif time.monotonic() - self._moved_at > self._settings.consumer.stall_timeout:
            await self._pass_markers()
            await self._check_for_stall()
        else:
            await self._pass_markers()
        begun, self._begun = self._begun, []
        reached = {place: Commit(offset, self._positions.topic_id) for place, offset in self._handed.items()}
        return Polled(records, begun, reached, self._assignment, found)

    def is_current(self, polled: Polled) -> bool:
        """Whether the partitions are assigned as they were at this poll."""
        return polled.assignment == self._assignment

    async def commit(self, polled: Polled) -> None:
        """Commit what a poll handed out, unless partitions were assigned again since. Raises Unavailable or Refused."""
        marks = {place: mark for place, mark in polled.reached.items() if self._settled.get(place) != mark.offset}
        if not marks or self._consumer is None or polled.assignment != self._assignment:
            return
        offsets = {TopicPartition(*place): (mark.offset, mark.metadata) for place, mark in marks.items()}
        await within(self._settings.kafka.request_timeout, self._consumer.commit(offsets))
        if polled.assignment == self._assignment:  # else a rebalance came between
            for place, mark in marks.items():
                self._settled[place] = mark.offset
                waiting = self._waiting.get(place)
                while waiting and waiting[0].end <= mark.offset:
                    waiting.popleft()

    async def lag(self) -> Mapping[Partition, Backlog]:
        """What of each assigned partition is not committed. Raises Unavailable or Refused."""
        if self._consumer is None:
            return {}
        ends = await self._ends()
        if self._consumer is None:  # it was closed meanwhile
            return {}
        marks = {place: self._mark(place) for place in ends}
        if undecided := [place for place, mark in marks.items() if mark is None]:  # the store does not answer
            commits = await within(self._settings.kafka.request_timeout, self._consumer.commits(undecided))
            marks |= {place: commit.offset for place, commit in commits.items()}
        return {
            place: self._backlog(place, ends[place].end - mark) for place, mark in marks.items() if mark is not None
        }

    async def _ends(self) -> Mapping[Partition, Ends]:
        places = [Partition(*place) for place in self._consumer.assignment()]
        ends: Mapping[Partition, Ends] = await within(self._settings.kafka.request_timeout, self._consumer.ends(places))
        self._positions.note(ends)
        return ends

    def _backlog(self, place: Partition, events: int) -> Backlog:
        now = time.time()
        if events <= 0:
            self._since[place] = now
            return Backlog(0, 0.0)
        waiting = self._waiting.get(place)
        oldest = waiting[0].published if waiting else self._since.get(place, self._assigned_at)
        return Backlog(events, max(0.0, now - oldest))  # the producer's clock may be ahead

    async def close(self) -> None:
        """Leave the group; a broker that does not answer in time finds out by the session timeout."""
        consumer, self._consumer = self._consumer, None
        self._begin_assignment(())
        if consumer is not None:
            await self._positions.close()
            try:
                await within(LEAVE_TIMEOUT, consumer.stop())
            except ActivityIndexerError as error:
                self._log.debug("audit.leave_failed", error=str(error))

    async def _join(self) -> None:
        kafka = self._settings.kafka
        reader = _Reader(self._begin_assignment)

        def positions(client: GroupMember) -> Positions:
            kept = partial(self._kept, client)
            self._positions = Positions(
                client, kafka, reader, self._emit, self._known, "earliest", kept, self._note_begin
            )
            return self._positions  # type: ignore[no-any-return]

        if self._tried:
            await check_instance(kafka, kafka.audit_group)
        self._tried = True
        self._consumer = await join_group(
            kafka,
            kafka.audit_group,
            positions,
            self._address,
            client_id=f"{kafka.client_id}.audit",
            shares=self._shares,
        )
        self._moved_at = time.monotonic()

    async def _kept(self, client: GroupMember, places: Collection[Partition]) -> Mapping[Partition, Commit]:
        """What the store has. Raises Unavailable or Refused."""
        committed = await client.commits(places)
        if self._stored is None:
            return committed
        stored = await self._stored(places)
        kept = {place: _as_far_as_both(commit, committed.get(place)) for place, commit in stored.items()}
        ours = [Partition(*place) for place in client.assignment()]
        offsets = {place: (kept.get(place, Commit(0)).offset, committed.get(place, Commit(0)).offset) for place in ours}
        if behind := {place.partition: each for place, each in offsets.items() if each[0] < each[1]}:
            self._log.warning("audit.rewound", postgresql_and_kafka=behind)
        if ahead := {place.partition: each for place, each in offsets.items() if each[0] > each[1]}:
            self._log.info("audit.moved_on", postgresql_and_kafka=ahead)
        return kept

    def _note_begin(self, place: Partition, start: Start, topic_id: str) -> None:
        self._begun.append(Begun(place, Commit(start.offset, topic_id), start.loss))
        self._handed[place] = start.offset

    async def _collect(self) -> tuple[list[Record], list[Event | EventError | None]]:
        """Records, and what the indexer has found in them."""
        limit, linger = self._settings.database.batch_size, self._settings.consumer.commit_interval
        deadline = time.monotonic() + linger
        records: list[Record] = []
        found: list[Event | EventError | None] = []
        room = self._shares.audit
        while len(records) < limit and room > 0 and (left := deadline - time.monotonic()) > 0:
            if room < self._shares.decoded // 2:
                break  # all that the indexer has may come at once
            if taken := self._take_decoded(records, found, limit):
                room -= taken
                continue
            try:
                wait = min(left, BESIDE_INTERVAL) if self._beside.is_waiting else left
                polled = await self._poll(self._consumer, wait + 0.001, limit - len(records), room)
            except OffsetOutOfRangeError as error:
                self._positions.out_of_range(Partition(*place) for place in error.args[0])
                break
            except CLIENT_ERRORS as error:
                if records:
                    break  # they are taken from the client already; the next poll reports the error
                raise mapped(error) from error
            for place, some in polled.items():
                self._hand_out(Partition(*place), some)
                records += some
                found += [None] * len(some)
            room -= self._poll.taken
        return records, found

    def _take_decoded(self, records: list[Record], found: list[Event | EventError | None], limit: int) -> int:
        """Add what the indexer has; returns its bytes."""
        size = 0
        places = [place for place in self._handed if self._positions.decided(place)]
        runs = self._beside.take(self._consumer, places, self._positions.topic_id, limit - len(records))
        for place, run in runs:
            self._hand_out(place, run.records)
            records += run.records
            found += run.events
            size += run.size
        return size

    def _hand_out(self, place: Partition, records: Sequence[Record]) -> None:
        self._settled.setdefault(place, records[0].offset)
        self._handed[place] = records[-1].offset + 1
        now = time.time()  # from which on is measured what has no time of its own
        first = published_at(records[0].timestamp, now) or now
        self._waiting.setdefault(place, deque()).append(_Waiting(records[-1].offset + 1, first))
        self._since[place] = published_at(records[-1].timestamp, now) or now

    async def _pass_markers(self) -> None:
        """With nothing left to hand out, take over the client's positions: they pass the end marks of transactions."""
        for place in self._consumer.assignment():
            known = Partition(*place)
            if known in self._handed and (position := self._position(known)) is not None:
                self._handed[known] = max(position, self._handed.get(known, position))

    def _mark(self, place: Partition) -> int | None:
        settled = self._settled.get(place)
        return self._position(place) if settled is None else settled

    def _position(self, place: Partition) -> int | None:
        decided = self._consumer is not None and self._positions.decided(place)
        position: int | None = self._consumer.position_now(place) if decided else None
        return position

    async def _check_for_stall(self) -> None:
        """A client can lose its way and hand nothing out for ever: then a new one takes its place."""
        self._moved_at = time.monotonic()
        ends = await self._ends()
        marks = {place: mark for place in ends if (mark := self._handed.get(place, self._mark(place))) is not None}
        if lag := sum(max(0, ends[place].stable - mark) for place, mark in marks.items()):
            self._consumer.check()  # what is damaged on a broker's disk stays damaged with a new client
            seconds = self._settings.consumer.stall_timeout
            self._log.warning("audit.consumer_replaced", lag=lag, seconds_without_records=seconds)
            await self.close()
            raise Unavailable(
                f"Kafka: {lag} records are there, but none came for {seconds:g} s; joining the group again"
            )

    def _begin_assignment(self, places: Collection[Partition]) -> None:
        """A new assignment starts from what is committed."""
        self._forget()
        self._beside.assigned(places)

    def _forget(self) -> None:
        self._begun = []
        self._handed = {}
        self._settled = {}
        self._waiting = {}
        self._assignment += 1
        self._since = {}
        self._assigned_at = time.time()
        self._moved_at = time.monotonic()


def _as_far_as_both(kept: Commit, committed: Commit | None) -> Commit:
    """An offset that is not known to be one of this topic may be one of a topic that had its name before."""
    if kept.topic_id or committed is None:
        return kept
    return Commit(min(kept.offset, committed.offset))


class _Waiting(NamedTuple):
    """Records that were handed out at once: the offset after the last, and when the first was published."""

    end: int
    published: float


class _Reader:
    """Nothing waits when partitions are taken: what was not committed is delivered again, and changes nothing then."""

    def __init__(self, begin: Callable[[Collection[Partition]], None]) -> None:
        self._begin = begin

    async def revoked(self) -> None:
        """The group takes all partitions back."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """The group gave these partitions."""
        self._begin(partitions)
