"""Intake, batches under way, commits."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from fixtures.emitted import Emitted
from fixtures.events import NOW, TOPIC
from fixtures.records import Reported
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.breaker import Breaker
from activity_indexer.consumer import Indexer, IntakeLimits
from activity_indexer.ending import Deadline
from activity_indexer.errors import Unavailable
from activity_indexer.index_watch import Standing
from activity_indexer.memory import footprint
from activity_indexer.pipeline.batch import Batch, Batcher
from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.ports import Record
from activity_indexer.positions import Ends, Partition
from activity_indexer.reports import (
    BreakerClosed,
    CommitFailed,
    EventsPending,
    EventsReadAgain,
    LagMeasured,
    OffsetsCommitted,
    PartitionsRevoked,
    RecordsPolled,
)

pytestmark = pytest.mark.simulated_time

ONE = Partition(TOPIC, 0)
OTHER = Partition(TOPIC, 1)


@dataclass
class Broker:
    """Partitions with records, the group's offsets, and what the member's client does with them (a RecordSource).

    Polls wait while the group rebalances, as the real client's do. `trouble` is raised by the calls that it names.
    """

    log: dict[Partition, list[Reported]] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    positions: dict[Partition, int] = field(default_factory=dict)
    trouble: dict[str, Exception] = field(default_factory=dict)
    handled: set[tuple[int, int]] | None = None
    polls: int = 0
    commits: list[Mapping[Partition, int]] = field(default_factory=list)
    committing: int = 0
    commit_delays: list[float] = field(default_factory=list)
    held: int = 0
    moved: int = 0
    stable: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.stable.set()

    def publish(self, count: int, partition: Partition = ONE, start: int | None = None) -> None:
        log = self.log.setdefault(partition, [])
        first = start if start is not None else log[-1].offset + 1 if log else 0
        log += [Reported(b"x", first + number, partition.partition) for number in range(count)]

    def end(self, partition: Partition) -> int:
        log = self.log.get(partition)
        return log[-1].offset + 1 if log else 0

    def assign(self) -> None:
        self.positions = {partition: self.offsets.get(partition, 0) for partition in self.log}

    async def rebalance(self, member: Indexer) -> None:
        self.stable.clear()
        await member.revoked()
        self.assign()
        self.stable.set()
        await member.assigned(list(self.positions))

    async def poll(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:
        self.polls += 1
        if polled := await self._wait(timeout, max_records):
            return polled
        return {}

    async def _wait(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:
        await asyncio.sleep(0)
        await self.stable.wait()
        if found := self._fetch(max_records):
            return found
        await asyncio.sleep(timeout)
        await self.stable.wait()
        return self._fetch(max_records)

    def _fetch(self, room: int) -> Mapping[Partition, Sequence[Record]]:
        found: dict[Partition, Sequence[Record]] = {}
        for partition, position in self.positions.items():
            records = [record for record in self.log[partition] if record.offset >= position][:room]
            if records:
                found[partition] = records
                room -= len(records)
                self.positions[partition] = records[-1].offset + 1
        return found

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._fail("commit")
        self.committing += 1
        await asyncio.sleep(self.commit_delays.pop(0) if self.commit_delays else 0)
        for partition, mark in offsets.items():
            if self.handled is not None:
                missing = [each.offset for each in self.log[partition] if each.offset < mark]
                assert {(partition.partition, offset) for offset in missing} <= self.handled, "committed too far"
        self.commits.append(dict(offsets))
        self.offsets |= offsets

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        self.positions |= offsets

    async def position(self, partition: Partition) -> int | None:
        self._fail("position")
        return self.positions.get(partition)

    async def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, Ends]:
        self._fail("ends")
        return {
            partition: Ends(self.end(partition) + self.held, self.end(partition) + self.moved)
            for partition in partitions
        }

    def _fail(self, call: str) -> None:
        if error := self.trouble.get(call):
            raise error


async def at_once(batch: Batch) -> None:
    batch.settle_all()


@dataclass
class Gate:
    """A process that waits to be asked; then it settles all, and what was cancelled settles nothing."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    started: list[Batch] = field(default_factory=list)
    cancelled: int = 0

    async def __call__(self, batch: Batch) -> None:
        self.started.append(batch)
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        batch.settle_all()


@dataclass
class Sink:
    """Where events go: `standings` are its answers, then all is safe."""

    standings: list[Standing] = field(default_factory=list)
    as_expected: bool = True
    asked: int = 0

    async def confirm(self, within: float) -> Standing:
        self.asked += 1
        await asyncio.sleep(0)
        return self.standings.pop(0) if self.standings else Standing.SAFE


@dataclass
class Subject:
    """An indexer on a broker in memory; times in seconds."""

    process: Callable[[Batch], Awaitable[None]] = at_once
    broker: Broker = field(default_factory=Broker)
    batch_size: int = 5
    batch_timeout: float = 0.005
    request_events: int = 0
    places: int = 2
    fetch: int = 20
    drain_timeout: float = 0.5
    commit_interval: float = 0.002
    emitted: Emitted = field(default_factory=Emitted)
    memory: int = 10**9
    poll_timeout: float = 0.002
    sink: Sink = field(default_factory=Sink)
    rereads: Rereads = field(default_factory=Rereads)

    def __post_init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.breaker = Breaker(0.5, 100, 1)
        self.indexer = Indexer(
            self.broker,
            Batcher(self.batch_size, 10**6, self.batch_timeout, clock, self.request_events),
            self.process,
            lambda: self.places,
            self.breaker,
            self.emitted,
            IntakeLimits(
                self.fetch,
                self.commit_interval,
                self.drain_timeout,
                poll_timeout=self.poll_timeout,
                watch_interval=0.002,
                memory=self.memory,
            ),
            clock,
            sink=self.sink,
            rereads=self.rereads,
        )

    @property
    def lag(self) -> LagMeasured:
        """What was measured of partition 0 last."""
        return [LagMeasured(ONE, -1), *(each for each in self.emitted.of(LagMeasured) if each.partition == ONE)][-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Assigned and running; ended as the app ends it."""
        self.broker.assign()
        await self.indexer.assigned(list(self.broker.positions))
        task = asyncio.create_task(self.indexer.run())
        try:
            yield task
        finally:
            self.indexer.stop()
            await asyncio.wait({task}, timeout=1)
            task.cancel()
            await asyncio.wait({task})
            await self.drain()

    async def drain(self) -> None:
        await self.indexer.drain(Deadline.after(self.drain_timeout, asyncio.get_running_loop().time))

    async def until(self, check: Callable[[], object]) -> None:
        async with asyncio.timeout(2):
            while not check():  # noqa: ASYNC110 - waits for what no event reports
                await asyncio.sleep(0.001)


async def test_what_is_settled_is_committed() -> None:
    subject = Subject()
    subject.broker.publish(12)
    subject.broker.publish(3, OTHER)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets == {ONE: 12, OTHER: 3})
    assert {
        each for commit in subject.emitted.of(OffsetsCommitted) for each in commit.offsets.items() if each[1] in (12, 3)
    } == {
        (ONE, 12),
        (OTHER, 3),
    }
    assert sum(polled.records for polled in subject.emitted.of(RecordsPolled)) == 15


async def test_only_the_low_water_mark_is_committed() -> None:
    release = asyncio.Event()

    async def process(batch: Batch) -> None:
        if batch.records[0].offset == 0:
            batch.settle([0, 1, 3])
            await release.wait()
        batch.settle_all()

    subject = Subject(process)
    subject.broker.publish(15)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets.get(ONE) == 2)
        await asyncio.sleep(0.01)
        assert subject.broker.offsets == {ONE: 2}
        release.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 15})


async def test_a_batch_that_is_not_full_goes_at_its_age() -> None:
    gate = Gate()
    subject = Subject(gate)
    subject.broker.publish(2)
    async with subject.running():
        await subject.until(lambda: gate.started)
        assert [len(batch.records) for batch in gate.started] == [2]
        gate.opened.set()


async def test_back_pressure_bounds_what_is_taken_in() -> None:
    gate = Gate()
    subject = Subject(gate, places=2, batch_size=5, fetch=20)
    subject.broker.publish(1000)
    async with subject.running():
        await asyncio.sleep(0.05)
        assert len(gate.started) == 3, "two places and one to spare"
        assert subject.broker.positions[ONE] <= 20 + 20
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 1000})


@dataclass
class Letters(Gate):
    """A process whose batches wait for the dead-letter topic alone."""

    async def __call__(self, batch: Batch) -> None:
        batch.requests_done()
        await super().__call__(batch)


async def test_a_batch_that_waits_for_the_dead_letter_topic_alone_takes_no_place_but_not_without_limit() -> None:
    letters = Letters()
    subject = Subject(letters, places=2, batch_size=5, fetch=20)
    subject.broker.publish(100)
    async with subject.running():
        await subject.until(lambda: len(letters.started) >= 5)
        await asyncio.sleep(0.05)
        assert len(letters.started) == 5, "two beside two places, and one to spare"
        letters.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 100})


async def test_intake_goes_on_at_once_when_a_place_is_given_up() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=5, fetch=5, poll_timeout=60.0)
    subject.broker.publish(100)
    async with subject.running():
        await subject.until(lambda: len(gate.started) == 2)
        await asyncio.sleep(0.05)
        gate.started[0].requests_done()
        await subject.until(lambda: len(gate.started) == 3)
        gate.opened.set()


async def test_more_places_take_more_batches() -> None:
    gate = Gate()
    subject = Subject(gate, places=2)
    subject.broker.publish(100)
    async with subject.running():
        await subject.until(lambda: len(gate.started) == 3)
        subject.places = 4
        await subject.until(lambda: len(gate.started) == 5)
        gate.opened.set()


async def test_batches_that_are_due_while_no_place_is_free_travel_together_in_the_next_request() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=2, request_events=100, batch_timeout=60.0)
    subject.broker.publish(2)
    async with subject.running():
        await subject.until(lambda: gate.started)
        for _ in range(4):
            subject.broker.publish(5)
            await asyncio.sleep(0.005)
        assert [len(batch.records) for batch in gate.started] == [2]
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 22})
        assert [len(batch.records) for batch in gate.started] == [2, 20]


async def test_a_request_beyond_the_places_is_prepared_only_when_none_could_join_it() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=2, request_events=6)
    subject.broker.publish(2)
    async with subject.running():
        await subject.until(lambda: gate.started)
        subject.broker.publish(5)
        await asyncio.sleep(0.02)
        assert [len(batch.records) for batch in gate.started] == [2], "others may join it"
        subject.broker.publish(1)
        await subject.until(lambda: len(gate.started) == 2)
        assert [len(batch.records) for batch in gate.started] == [2, 6]
        gate.opened.set()


async def test_one_event_leaves_as_soon_as_its_batch_is_due_and_a_place_is_free() -> None:
    gate = Gate()
    subject = Subject(gate, places=2, batch_size=1, request_events=1000, batch_timeout=60.0)
    async with subject.running():
        for number in (1, 2):
            subject.broker.publish(1)
            subject.broker.assign()
            subject.broker.positions[ONE] = number - 1
            await subject.until(lambda: len(gate.started) == number)  # noqa: B023 - awaited here
        assert [len(batch.records) for batch in gate.started] == [1, 1]
        gate.opened.set()


async def test_a_batch_goes_at_its_age_though_no_place_was_free_when_the_intake_began_to_wait() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=2, request_events=100, batch_timeout=0.05, poll_timeout=60.0)
    subject.broker.publish(3)
    async with subject.running():
        await subject.until(lambda: gate.started)
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 3})


async def test_intake_stops_when_the_next_request_is_full() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=5, request_events=20, fetch=7)
    subject.broker.publish(1000)
    async with subject.running():
        await asyncio.sleep(0.05)
        assert [len(batch.records) for batch in gate.started] == [5, 20]
        assert subject.broker.positions[ONE] <= 25 + 20 + 7
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 1000})


async def test_requests_are_no_larger_than_the_memory_that_is_left() -> None:
    gate = Gate()
    subject = Subject(gate, places=5, batch_size=1, request_events=100, fetch=3, memory=6 * RECORDS_ONE)
    subject.broker.publish(50)
    async with subject.running():
        await subject.until(lambda: sum(len(batch.records) for batch in gate.started) == 6)
        await asyncio.sleep(0.02)
        assert sum(len(batch.records) for batch in gate.started) == 6
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets.get(ONE) == 50)


async def test_a_rebalance_finishes_the_batches_that_wait_together() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=2, request_events=100, batch_timeout=60.0)
    subject.broker.publish(2)
    async with subject.running():
        await subject.until(lambda: gate.started)
        subject.broker.publish(7)
        await subject.until(lambda: subject.broker.positions[ONE] == 9)
        revoking = asyncio.create_task(subject.broker.rebalance(subject.indexer))
        await asyncio.sleep(0.005)
        gate.opened.set()
        await revoking
        assert subject.broker.offsets == {ONE: 9}
        assert [len(batch.records) for batch in gate.started] == [2, 7]


async def test_reading_again_forgets_the_batches_that_wait() -> None:
    gate = Gate()
    subject = Subject(gate, places=1, batch_size=2, request_events=100, batch_timeout=60.0, commit_interval=60.0)
    subject.broker.publish(2)
    async with subject.running():
        await subject.until(lambda: gate.started)
        subject.broker.publish(6)
        await subject.until(lambda: subject.broker.positions[ONE] == 8)
        subject.indexer._in_doubt = True
        gate.opened.set()
        await subject.until(lambda: subject.emitted.of(EventsReadAgain))
        await subject.until(lambda: subject.indexer._offsets[ONE].mark() == 8)
    assert subject.emitted.of(EventsReadAgain) == [EventsReadAgain(8)]
    assert subject.broker.offsets == {ONE: 8}


async def test_an_open_breaker_stops_polling_and_a_closed_one_resumes_it() -> None:
    gate = Gate()
    subject = Subject(gate)
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: gate.started)
        subject.breaker.record(10, 10)
        await asyncio.sleep(0.01)
        polls = subject.broker.polls
        await asyncio.sleep(0.02)
        assert subject.broker.polls == polls
        subject.breaker.close()
        gate.opened.set()
        await subject.until(lambda: subject.broker.polls > polls)


async def test_after_a_rebalance_took_the_events_that_were_held_intake_goes_on() -> None:
    held = Gate()
    subject = Subject(held, drain_timeout=0.01)
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: held.started)
        subject.breaker.record(10, 10)
        await asyncio.sleep(0.01)  # the poll that was under way has ended
        await subject.broker.rebalance(subject.indexer)
        assert held.cancelled == 1
        assert subject.emitted.of(BreakerClosed)
        held.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})


async def test_stopping_finishes_what_was_taken_in() -> None:
    gate = Gate()
    subject = Subject(gate, batch_timeout=60.0)
    subject.broker.publish(7)
    async with subject.running():
        await subject.until(lambda: gate.started and subject.broker.positions[ONE] == 7)
        gate.opened.set()
    assert [len(batch.records) for batch in gate.started] == [5, 2]
    assert subject.broker.offsets == {ONE: 7}


async def test_draining_gives_up_at_its_limit_and_commits_what_is_settled() -> None:
    async def process(batch: Batch) -> None:
        batch.settle([0, 1])
        await asyncio.sleep(60)

    subject = Subject(process, drain_timeout=0.02)
    subject.broker.publish(30)
    async with asyncio.timeout(1):
        async with subject.running():
            await subject.until(lambda: subject.broker.polls)
    assert subject.broker.offsets == {ONE: 2}
    assert not subject.indexer._under_way


async def test_a_drain_does_not_wait_for_a_broker_that_is_silent() -> None:
    subject = Subject(drain_timeout=0.02, commit_interval=60)
    subject.broker.commit_delays = [60.0]
    subject.broker.publish(5)
    async with asyncio.timeout(1), subject.running():
        await subject.until(lambda: subject.indexer._offsets[ONE].mark() == 5)
    assert [failed.reason for failed in subject.emitted.of(CommitFailed)] == [
        "Kafka did not answer in the time that is left for it"
    ]
    assert subject.broker.commits == []


async def test_a_drain_does_not_wait_for_events_that_an_open_breaker_holds() -> None:
    held = Gate()
    subject = Subject(held, drain_timeout=60, batch_size=5)

    async def process(batch: Batch) -> None:
        if batch.records[0].offset < 5:
            batch.settle_all()
            return
        subject.breaker.record(10, 10)
        with subject.breaker.holding():
            await held(batch)

    subject.indexer._process = process
    subject.broker.publish(15)
    async with asyncio.timeout(1), subject.running():
        await subject.until(lambda: held.started)
    assert held.cancelled == len(held.started) > 0
    assert subject.broker.offsets == {ONE: 5}


async def test_draining_with_nothing_to_do_commits_nothing_again() -> None:
    subject = Subject()
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})
    commits = len(subject.broker.commits)
    await subject.drain()
    assert len(subject.broker.commits) == commits


async def test_a_rebalance_finishes_and_commits_before_the_partitions_go() -> None:
    slow = asyncio.Event()

    async def process(batch: Batch) -> None:
        await slow.wait()
        batch.settle_all()

    subject = Subject(process)
    subject.broker.publish(8)
    async with subject.running():
        await subject.until(lambda: subject.broker.positions[ONE] == 8)
        revoking = asyncio.create_task(subject.indexer.revoked())
        await asyncio.sleep(0.005)
        slow.set()
        await revoking
        assert subject.broker.offsets == {ONE: 8}
        assert subject.indexer._offsets == {}
        assert subject.emitted.of(PartitionsRevoked)


async def test_records_that_come_before_the_assignment_is_reported_are_not_lost() -> None:
    gate = Gate()
    subject = Subject(gate)
    subject.broker.publish(5)
    subject.broker.assign()
    task = asyncio.create_task(subject.indexer.run())
    await subject.until(lambda: gate.started)
    await subject.indexer.assigned([ONE])
    await asyncio.sleep(0.01)
    assert subject.broker.offsets.get(ONE, 0) == 0, "nothing is settled"
    gate.opened.set()
    await subject.until(lambda: subject.broker.offsets == {ONE: 5})
    subject.indexer.stop()
    await task


async def test_a_partition_that_comes_back_begins_again() -> None:
    subject = Subject()
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})
        subject.broker.offsets[ONE] = 2
        await subject.broker.rebalance(subject.indexer)
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})


async def test_a_commit_that_fails_is_reported_and_made_up_for() -> None:
    subject = Subject()
    subject.broker.publish(5)
    subject.broker.trouble["commit"] = Unavailable("Kafka is unavailable")
    async with subject.running():
        await subject.until(lambda: subject.emitted.of(CommitFailed))
        assert CommitFailed("Kafka is unavailable") in subject.emitted
        assert subject.broker.offsets == {}
        del subject.broker.trouble["commit"]
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})


async def test_an_older_mark_never_overtakes_a_newer_one() -> None:
    subject = Subject()
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})
        subject.broker.commit_delays = [0.02]
        before = subject.broker.committing
        subject.broker.publish(5)
        await subject.until(lambda: subject.broker.committing > before)
        subject.broker.publish(5)
        await subject.until(lambda: subject.indexer._offsets[ONE].mark() == 15)
        await subject.drain()
        await asyncio.sleep(0.03)
        marks = [each[ONE] for each in subject.broker.commits]
        assert marks == sorted(marks)
        assert marks[-1] == 15


async def test_a_defect_in_a_batch_ends_the_run_with_that_error() -> None:
    async def process(_: Batch) -> None:
        raise RuntimeError("defect")

    subject = Subject(process)
    subject.broker.publish(5)
    async with subject.running() as task:
        with pytest.raises(RuntimeError, match="defect"):
            await asyncio.wait_for(asyncio.shield(task), 1)
    assert subject.broker.offsets.get(ONE, 0) == 0


async def test_a_defect_beside_the_batches_ends_the_run_too() -> None:
    subject = Subject()
    subject.broker.publish(5)
    subject.broker.trouble["commit"] = ValueError("defect")
    async with subject.running() as task:
        with pytest.raises(ValueError, match="defect"):
            await asyncio.wait_for(asyncio.shield(task), 1)
        del subject.broker.trouble["commit"]


async def test_lag_is_what_is_not_settled() -> None:
    gate = Gate()
    subject = Subject(gate)
    subject.broker.publish(8)
    async with subject.running():
        await subject.until(lambda: subject.lag.events == 8)
        gate.opened.set()
        await subject.until(lambda: subject.lag.events == 0)
        assert subject.emitted.of(EventsPending)[-1].events in (0, 8)


async def test_what_waits_behind_an_open_transaction_is_lag_and_cannot_be_settled() -> None:
    subject = Subject()
    subject.broker.publish(5)
    subject.broker.held = 7
    async with subject.running():
        await subject.until(lambda: subject.lag.events == 7)
        await subject.until(lambda: subject.lag.held == 7 and subject.lag.held_seconds > 0.01)
        assert subject.emitted.of(EventsPending)[-1] == EventsPending(0)
        assert subject.lag.seconds == subject.lag.held_seconds, "it cannot be read when what is held was published"
        held_for = subject.lag.held_seconds
        subject.broker.moved = 1
        await subject.until(lambda: subject.lag.held == 6)
        assert subject.lag.held_seconds < held_for, "another transaction is held for a time of its own"
        subject.broker.held = subject.broker.moved = 0
        await subject.until(lambda: (subject.lag.held, subject.lag.held_seconds) == (0, 0.0))


async def test_offsets_without_records_are_passed_and_committed() -> None:
    subject = Subject()
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})
        for position in (7, 9):
            subject.broker.positions[ONE] = position
            await subject.until(lambda: subject.broker.offsets == {ONE: position})  # noqa: B023 - awaited here


@pytest.mark.parametrize("call", ["position", "ends"])
async def test_a_lag_that_cannot_be_measured_stops_nothing(call: str) -> None:
    subject = Subject()
    subject.broker.publish(5)
    subject.broker.trouble[call] = Unavailable("Kafka is unavailable")
    async with subject.running() as task:
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})
        await asyncio.sleep(0.01)
        assert not task.done()
        del subject.broker.trouble[call]
        await subject.until(lambda: subject.lag.events == 0)


@settings(max_examples=30, deadline=None)
@given(st.builds(random.Random, st.integers(0, 2**32)))
async def test_no_schedule_of_rebalances_stops_and_kills_loses_a_record(chance: random.Random) -> None:
    handled: set[tuple[int, int]] = set()

    async def process(batch: Batch) -> None:
        places = list(range(len(batch.records)))
        chance.shuffle(places)
        for place in places:
            if chance.random() < 0.3:
                await asyncio.sleep(chance.choice((0, 0, 0.0003)))
            record = batch.records[place]
            handled.add((record.partition, record.offset))
            batch.settle([place])
        batch.settle_all()

    broker = Broker(handled=handled)
    for partition in (ONE, OTHER):
        for _ in range(4):
            broker.publish(chance.randrange(1, 12), partition, broker.end(partition) + chance.choice((0, 0, 3)))
    ends = {partition: broker.end(partition) for partition in broker.log}

    def another() -> Subject:
        return Subject(
            process,
            broker,
            batch_size=chance.randint(1, 6),
            batch_timeout=0.001,
            places=chance.randint(1, 3),
            request_events=chance.choice((0, 8, 100)),
            fetch=chance.randint(1, 15),
            drain_timeout=chance.choice((0.0005, 0.5)),
            commit_interval=0.0005,
        )

    for _ in range(3):
        subject = another()
        broker.assign()
        running = asyncio.create_task(subject.indexer.run())
        await asyncio.sleep(chance.random() * 0.004)
        if chance.random() < 0.7:
            await broker.rebalance(subject.indexer)
            await asyncio.sleep(chance.random() * 0.002)
        running.cancel()
        await asyncio.wait({running})
        if chance.random() < 0.5:
            await subject.drain()
        else:
            await kill(subject.indexer)
    last = another()
    async with last.running():
        await last.until(lambda: broker.offsets == ends)
    assert handled == {(each.partition, each.offset) for log in broker.log.values() for each in log}


async def kill(indexer: Indexer) -> None:
    """What a process leaves behind that is killed: nothing is finished, nothing is committed."""
    indexer._batcher.clear()
    for task in list(indexer._under_way):
        task.cancel()
    await asyncio.gather(*indexer._under_way, return_exceptions=True)


RECORDS_ONE = footprint(1, len(b"x") + len(b"user_1"))


async def test_nothing_is_taken_in_while_the_memory_is_used_up() -> None:
    gate = Gate()
    subject = Subject(gate, places=100, batch_size=1, fetch=2, memory=6 * RECORDS_ONE)
    subject.broker.publish(50)
    async with subject.running():
        await subject.until(lambda: len(gate.started) >= 6)
        await asyncio.sleep(0.05)
        assert subject.broker.positions[ONE] <= 8, "the limit, and one poll"
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets.get(ONE) == 50)


async def test_a_batch_that_is_not_full_is_not_waited_for_when_the_memory_is_used_up() -> None:
    subject = Subject(batch_size=1000, batch_timeout=600.0, fetch=2, memory=6 * RECORDS_ONE)
    subject.broker.publish(30)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets.get(ONE) == 30)


async def test_a_record_that_is_larger_than_the_memory_is_processed_alone() -> None:
    gate = Gate()
    subject = Subject(gate, places=100, batch_size=1, fetch=3, memory=1)
    subject.broker.publish(9)
    async with subject.running():
        await subject.until(lambda: gate.started)
        await asyncio.sleep(0.05)
        assert len(gate.started) == 1
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets.get(ONE) == 9)


async def test_what_a_rebalance_gives_up_takes_no_memory() -> None:
    gate = Gate()
    subject = Subject(gate, batch_size=1, drain_timeout=0.01, memory=2 * RECORDS_ONE)
    subject.broker.publish(10)
    async with subject.running():
        await subject.until(lambda: gate.started)
        await subject.broker.rebalance(subject.indexer)
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets.get(ONE) == 10)


async def test_nothing_is_committed_before_the_index_is_confirmed() -> None:
    subject = Subject(sink=Sink([Standing.UNKNOWN] * 5))
    subject.broker.publish(10)
    async with subject.running():
        await subject.until(lambda: subject.sink.asked == 5)
        assert subject.broker.commits == []
        await subject.until(lambda: subject.broker.offsets == {ONE: 10})


async def test_what_may_be_missing_from_the_index_is_read_again_from_the_last_commit() -> None:
    taken: list[tuple[int, bool]] = []

    async def process(batch: Batch) -> None:
        taken.extend((record.offset, record in subject.rereads) for record in batch.records)
        batch.settle_all()

    subject = Subject(process)
    subject.broker.publish(4)
    async with subject.running():
        await subject.until(lambda: subject.broker.offsets == {ONE: 4})
        subject.sink.standings = [Standing.UNKNOWN] * 3 + [Standing.REREAD]
        subject.broker.publish(6)
        await subject.until(lambda: subject.broker.offsets == {ONE: 10})
        subject.broker.publish(1)
        await subject.until(lambda: subject.broker.offsets == {ONE: 11})
    offsets = [offset for offset, _ in taken]
    assert offsets == [*range(10), *range(4, 10), 10]
    assert [again for _, again in taken] == [False] * 10 + [True] * 6 + [False]
    assert subject.emitted.of(EventsReadAgain) == [EventsReadAgain(6)]


async def test_reading_again_before_the_first_commit_begins_where_it_began() -> None:
    subject = Subject(sink=Sink([Standing.REREAD]))
    subject.broker.offsets = {ONE: 3}
    subject.broker.publish(9)
    async with subject.running():
        await subject.until(lambda: subject.emitted.of(EventsReadAgain))
        await subject.until(lambda: subject.broker.offsets == {ONE: 9})
    assert subject.emitted.of(EventsReadAgain) == [EventsReadAgain(6)]


async def test_reading_again_gives_up_what_is_under_way() -> None:
    gate = Gate()

    async def process(batch: Batch) -> None:
        if batch.records[0].offset == 0 and not gate.started:
            gate.started.append(batch)
            batch.settle_all()
        else:
            await gate(batch)

    subject = Subject(process, sink=Sink([Standing.REREAD]), places=1)
    subject.broker.publish(20)
    async with subject.running():
        await subject.until(lambda: subject.emitted.of(EventsReadAgain))
        assert gate.cancelled
        assert subject.broker.commits == []
        gate.opened.set()
        await subject.until(lambda: subject.broker.offsets == {ONE: 20})


async def test_a_rebalance_in_doubt_commits_nothing_and_the_next_member_reads_it_again() -> None:
    subject = Subject(commit_interval=60.0)
    subject.broker.publish(5)
    async with subject.running():
        await subject.until(lambda: subject.broker.positions[ONE] == 5)
        await asyncio.sleep(0.02)
        subject.sink.standings = [Standing.REREAD]
        await subject.broker.rebalance(subject.indexer)
        assert subject.broker.commits == []
    assert subject.broker.offsets == {ONE: 5}
    assert subject.emitted.of(EventsReadAgain) == []


async def test_nothing_is_taken_in_while_the_index_is_not_as_expected() -> None:
    subject = Subject(sink=Sink(as_expected=False))
    subject.broker.publish(5)
    async with subject.running():
        await asyncio.sleep(0.02)
        assert subject.broker.polls == 0
        subject.sink.as_expected = True
        await subject.until(lambda: subject.broker.offsets == {ONE: 5})


@pytest.mark.parametrize("published", [-1, 0, int(NOW), int(NOW * 1e6)])
async def test_a_partition_whose_oldest_record_has_no_time_that_can_be_true_has_a_lag_in_events_only(
    published: int,
) -> None:
    gate = Gate()
    subject = Subject(gate)
    subject.broker.log[ONE] = [Reported(b"x", 0, timestamp=published)]
    async with subject.running():
        await subject.until(lambda: subject.lag.events == 1)
        assert subject.lag.seconds is None
        gate.opened.set()
        await subject.until(lambda: subject.lag.seconds == 0.0)


async def test_a_batch_that_is_given_up_before_it_begins_takes_no_memory() -> None:
    subject = Subject(batch_size=1, drain_timeout=0.0, memory=2 * RECORDS_ONE)
    subject.broker.publish(2)
    subject.broker.assign()
    subject.indexer._take(await subject.broker.poll(0, 2))
    await subject.indexer.revoked()
    await asyncio.sleep(0)
    assert not subject.indexer._is_memory_used_up()
