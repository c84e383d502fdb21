"""The audit's worker: what it does with good and bad events, outages, refusals and the end."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from fixtures.audit import audit_event, value
from fixtures.memory.audit import MemoryAudit
from fixtures.records import undecoded
from fixtures.waiting import eventually
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from activity_indexer.audit.consumer import Audit, batches
from activity_indexer.ending import Deadline
from activity_indexer.errors import ActivityIndexerError, EventError, Refused, Unavailable
from activity_indexer.event import Event
from activity_indexer.pipeline.decoded_events import INVALID
from activity_indexer.ports import NOTHING_READ, AuditEvent, Backlog, Polled, Read
from activity_indexer.positions import RETENTION, Begun, Commit, Loss, Partition, Stored
from activity_indexer.reports import AuditBatchWritten, AuditLagMeasured, AuditTiesFound, DependencyChanged, Reported
from activity_indexer.settings import load_settings

pytestmark = pytest.mark.simulated_time

UNAVAILABLE = Unavailable("PostgreSQL is unavailable")
WRONG = Refused("PostgreSQL refuses: no such table; restore it")


@dataclass
class Record:
    value: bytes | None
    offset: int = 0
    topic: str = "transactions"
    partition: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0


@dataclass
class Source:
    """Hands out the given polls, then nothing. Errors among them are raised."""

    polls: list[Sequence[Record] | ActivityIndexerError]
    commit_failures: list[ActivityIndexerError] = field(default_factory=list)
    starts: list[Begun] = field(default_factory=list)
    handed: int = 0
    committed: int = 0
    joined: int = 1
    stored: Stored | None = None
    read: dict[Partition, Commit] = field(default_factory=dict)
    idle: bool = False
    current: bool = True
    found: dict[int, Event | EventError | None] = field(default_factory=dict)
    dry: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def begin_from(self, stored: Stored) -> None:
        self.stored = stored

    async def close(self) -> None:
        self.left.set()
        self.joined += 1
        self.read = {}

    async def poll(self) -> Polled:
        if not self.polls:
            if self.idle:  # what came before the poll before this one is done with
                self.dry.set()
            self.idle = True
            await asyncio.sleep(0.001)
            return self.polled([])
        self.idle = False
        found = self.polls.pop(0)
        if isinstance(found, ActivityIndexerError):
            raise found
        self.handed += len(found)
        for record in found:
            place = Partition(record.topic, record.partition)
            if place not in self.read and place not in (each.partition for each in self.starts):
                self.starts.append(Begun(place, Commit(0, "id")))
            self.read[place] = Commit(record.offset + 1, "id")
        return self.polled(found)

    def polled(self, records: Sequence[Record]) -> Polled:
        starts, self.starts = self.starts, []
        self.read = {**{each.partition: each.commit for each in starts}, **self.read}
        found = [self.found.get(record.offset) for record in records] if self.found else ()
        return Polled(records, starts, dict(self.read), self.handed, found)

    def is_current(self, _: Polled) -> bool:
        return self.current

    def give(self, more: Sequence[Record]) -> None:
        self.polls.append(more)
        self.idle = False
        self.dry.clear()

    async def commit(self, polled: Polled) -> None:
        if self.commit_failures:
            raise self.commit_failures.pop(0)
        self.committed = polled.assignment

    async def lag(self) -> Mapping[Partition, Backlog]:
        return {Partition("transactions", 0): Backlog(self.handed - self.committed, 0.0)}


@dataclass
class Metrics:
    outcomes: dict[str, int] = field(default_factory=dict)
    dependencies: list[tuple[str, bool]] = field(default_factory=list)
    tied: int = 0

    def __call__(self, reported: Reported) -> None:
        match reported:
            case AuditBatchWritten():
                for outcome, count in reported.outcomes.items():
                    self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
            case AuditTiesFound():
                self.tied += reported.events
            case DependencyChanged():
                self.dependencies.append((reported.dependency, reported.problem is None))
            case AuditLagMeasured():
                assert reported.partitions


@dataclass
class Worker:
    source: Source
    store: MemoryAudit
    metrics: Metrics
    audit: Audit


Start = Callable[..., Worker]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Start:
    def build(*polls: Any, **variables: str) -> Worker:
        fast = {
            "CONSUMER_BACKOFF_INITIAL": "0.001",
            "CONSUMER_BACKOFF_MAX": "0.002",
        }
        for name, text in {**fast, **variables}.items():
            monkeypatch.setenv(name, text)
        source, store, metrics = Source(list(polls)), MemoryAudit(), Metrics()
        return Worker(source, store, metrics, Audit(source=source, store=store, settings=load_settings(), emit=metrics))

    return build


async def run_dry(worker: Worker) -> None:
    """Run until all polls are done with, then stop."""
    task = asyncio.create_task(worker.audit.run())
    waiting = asyncio.create_task(worker.source.dry.wait())
    await asyncio.wait({task, waiting}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await worker.audit.stop(Deadline.after(0.2))
    await task


def records(*values: bytes | None) -> list[Record]:
    return [Record(each, offset) for offset, each in enumerate(values)]


async def test_valid_events_are_written_and_then_committed(worker: Start) -> None:
    it = worker(records(value("a"), value("b")))
    await run_dry(it)
    assert set(it.store.transactions) == {"a", "b"}
    assert it.source.committed == 2
    assert it.metrics.outcomes == {"written": 2}


async def test_an_event_keeps_the_place_that_it_came_from(worker: Start) -> None:
    it = worker([Record(value("a"), offset=41, topic="other", partition=5)])
    await run_dry(it)
    [event] = it.store.history.values()
    assert (event.topic, event.partition, event.offset) == ("other", 5, 41)


async def test_invalid_events_are_counted_and_passed(worker: Start) -> None:
    it = worker(records(b"not json", None, b"{}", value("a"), b"[" * 20_000))
    await run_dry(it)
    assert set(it.store.transactions) == {"a"}
    assert it.metrics.outcomes == {"written": 1, "invalid": 4}
    assert it.source.committed == 5


async def test_a_record_that_cannot_be_decoded_is_counted_as_invalid_even_when_its_bytes_look_like_an_event(
    worker: Start,
) -> None:
    it = worker([*records(value("a")), undecoded(value("b"), 1)])
    await run_dry(it)
    assert set(it.store.transactions) == {"a"}
    assert it.metrics.outcomes == {"written": 1, "invalid": 1}


async def test_an_event_of_the_far_future_is_invalid(worker: Start) -> None:
    it = worker(records(value("a").replace(b"2024-01-01T00:00:00Z", b"2999-01-01T00:00:00Z")))
    await run_dry(it)
    assert it.metrics.outcomes == {"invalid": 1}


async def test_the_schema_is_prepared_before_anything_is_written_but_what_waits_is_known_before(worker: Start) -> None:
    it = worker(records(value("a")))
    it.store.failures = [UNAVAILABLE, UNAVAILABLE]
    task = asyncio.create_task(it.audit.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (it.store.prepared, it.store.writes, it.source.handed, it.source.committed) == (0, [], 1, 0)
    await it.source.dry.wait()
    await it.audit.stop(Deadline.after(0.2))
    await task
    assert it.store.prepared == 1


async def test_an_outage_loses_nothing_and_is_reported_twice(worker: Start) -> None:
    it = worker(records(value("a")), records(value("b")))
    with capture_logs() as logs:
        task = asyncio.create_task(it.audit.run())
        await it.source.dry.wait()
        it.store.failures = [UNAVAILABLE] * 20
        it.source.give(records(value("c")))
        await it.source.dry.wait()
        await it.audit.stop(Deadline.after(0.2))
        await task
    assert set(it.store.transactions) == {"a", "b", "c"}
    reported = [
        (line["event"], line["log_level"]) for line in logs if line["event"] in {"audit.paused", "audit.resumed"}
    ]
    assert reported == [("audit.paused", "warning"), ("audit.resumed", "info")]
    assert [up for name, up in it.metrics.dependencies if name == "postgres"] == [True, False, True]


async def test_nothing_is_committed_while_the_database_is_unavailable(worker: Start) -> None:
    it = worker(records(value("a")))
    task = asyncio.create_task(it.audit.run())
    it.store.failures = [Unavailable("x")] * 100_000
    await asyncio.sleep(0.05)
    assert it.source.committed == 0
    assert it.audit.database.state.condition == "unavailable"
    it.store.failures = []
    await it.source.dry.wait()
    await it.audit.stop(Deadline.after(0.2))
    await task
    assert it.source.committed == 1


async def test_a_refusal_is_an_error_that_says_what_to_do_and_ends_when_an_operator_acted(worker: Start) -> None:
    it = worker(records(value("a")))
    it.store.failures = [WRONG] * 5
    with capture_logs() as logs:
        await run_dry(it)
    [paused] = [line for line in logs if line["event"] == "audit.paused"]
    assert paused["log_level"] == "error"
    assert paused["condition"] == "refused"
    assert paused["reason"].endswith("restore it")
    assert set(it.store.transactions) == {"a"}


async def test_after_an_outage_the_schema_is_looked_at_again(worker: Start) -> None:
    it = worker(records(value("a")))
    task = asyncio.create_task(it.audit.run())
    await it.source.dry.wait()
    assert it.store.prepared == 1
    it.store.failures = [UNAVAILABLE]
    it.source.give(records(value("b")))
    await it.source.dry.wait()
    await it.audit.stop(Deadline.after(0.2))
    await task
    assert it.store.prepared == 2


async def test_a_batch_that_is_too_slow_passes_in_parts(worker: Start) -> None:
    it = worker(records(*(value(f"t{number}") for number in range(64))))
    write = it.store.write

    async def slow(events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        if len(events) > 10:
            raise UNAVAILABLE
        return await write(events, read)

    it.store.write = slow  # type: ignore[method-assign]
    await run_dry(it)
    assert len(it.store.transactions) == 64


async def test_only_the_guilty_events_are_put_aside(worker: Start) -> None:
    guilty = {"t3", "t4", "t17"}
    it = worker(records(*(value(f"t{number}") for number in range(20))))
    it.store.refuses = lambda event: event.event.transaction.id in guilty
    await run_dry(it)
    assert {event.event.transaction.id for event, _ in it.store.rejects.values()} == guilty
    assert set(it.store.transactions) == {f"t{number}" for number in range(20)} - guilty
    assert it.metrics.outcomes == {"written": 17, "rejected": 3}
    assert it.source.committed == 20


async def test_an_event_that_cannot_even_be_put_aside_is_named_and_passed(worker: Start) -> None:
    it = worker(records(value("a"), value("b")))
    it.store.refuses = lambda event: event.event.transaction.id == "b"
    it.store.refuses_rejects = True
    with capture_logs() as logs:
        await run_dry(it)
    [dropped] = [line for line in logs if line["event"] == "audit.event_dropped"]
    assert (dropped["topic"], dropped["partition"], dropped["offset"]) == ("transactions", 0, 1)
    assert it.metrics.outcomes == {"written": 1, "dropped": 1}
    [settled] = [line for line in logs if line["event"] == "audit.batch_settled"]
    assert (settled["records"], settled["written"], settled["dropped"]) == (2, 1, 1)
    assert "rejected" not in settled
    assert it.source.committed == 2


async def test_nothing_is_said_to_be_written_when_nothing_was(worker: Start) -> None:
    it = worker(records(value("a"), b"no event"))
    it.store.refuses = lambda _: True
    with capture_logs() as logs:
        await run_dry(it)
    [settled] = [line for line in logs if line["event"] == "audit.batch_settled"]
    assert (settled["rejected"], settled["invalid"], settled.get("written")) == (1, 1, None)
    assert it.metrics.outcomes == {"rejected": 1, "invalid": 1}


# Offsets

ZERO = Partition("transactions", 0)


async def test_how_far_it_has_read_is_kept_with_the_last_rows(worker: Start) -> None:
    it = worker(records(value("a"), b"no event"), records(value("b"))[:0], [Record(None, 2)], DATABASE_BATCH_SIZE="1")
    calls: list[tuple[int, int]] = []
    write = it.store.write

    async def noting(events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        calls.append((len(events), read[ZERO].until if read else 0))
        return await write(events, read)

    it.store.write = noting  # type: ignore[method-assign]
    await run_dry(it)
    assert calls == [(1, 2), (0, 3)]
    assert it.store.read == {ZERO: Commit(3, "id")}


async def test_an_event_that_is_put_aside_is_read(worker: Start) -> None:
    it = worker(records(value("a"), value("b")))
    it.store.refuses = lambda event: event.event.transaction.id == "b"
    await run_dry(it)
    assert it.store.read == {ZERO: Commit(2, "id")}
    assert len(it.store.rejects) == 1


@pytest.mark.parametrize(
    ("stored", "begun", "kept"),
    [
        (Commit(5, "id"), Begun(ZERO, Commit(5, "id")), []),
        (Commit(5), Begun(ZERO, Commit(5, "id")), []),
        (None, Begun(ZERO, Commit(0, "id")), []),
        (None, Begun(ZERO, Commit(7, "id")), [Commit(7, "id")]),
        (Commit(5, "id"), Begun(ZERO, Commit(9, "id"), Loss(ZERO, RETENTION, 5, 4)), [Commit(9, "id")]),
        (Commit(5, "old"), Begun(ZERO, Commit(0, "id")), [Commit(0, "id")]),
        (Commit(5, "old"), Begun(ZERO, Commit(5, "id")), [Commit(5, "id")]),
    ],
)
async def test_where_reading_begins_is_kept_when_that_is_not_where_it_ended(
    worker: Start, stored: Commit | None, begun: Begun, kept: list[Commit]
) -> None:
    it = worker()
    it.store.read = {} if stored is None else {ZERO: stored}
    begins: list[Commit] = []

    async def begin(_: Partition, commit: Commit, loss: Loss | None = None) -> None:
        begins.append(commit)
        it.store.losses += [loss] if loss else []

    it.store.begin = begin  # type: ignore[method-assign]
    it.audit._prepared.set()
    assert it.source.stored is not None
    await it.source.stored([ZERO])
    it.source.starts = [begun]
    await run_dry(it)
    assert begins == kept
    assert it.store.losses == ([begun.loss] if begun.loss else [])


async def test_nothing_says_where_to_begin_before_the_database_answers(worker: Start) -> None:
    it = worker()
    it.store.read = {ZERO: Commit(5)}
    assert it.source.stored is not None
    asked = asyncio.ensure_future(it.source.stored([ZERO]))
    await asyncio.sleep(0.01)
    assert not asked.done()
    await run_dry(it)
    assert await asked == {ZERO: Commit(5)}


async def test_a_database_that_went_back_is_read_into_again_from_where_it_is(worker: Start) -> None:
    it = worker(records(value("a")))
    with capture_logs() as logs:
        task = asyncio.create_task(it.audit.run())
        await it.source.dry.wait()
        it.store.read, it.store.transactions = {}, {}  # an older backup
        it.source.give([Record(value("b"), 1)])
        await it.source.dry.wait()
        await it.audit.stop(Deadline.after(0.2))
        await task
    assert it.source.joined == 2
    assert it.store.transactions == {}
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["audit.went_back"]


async def test_a_database_that_went_back_is_noticed_though_nothing_more_is_read(
    worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition without later events, or a topic that is quiet: a write would not see it."""
    monkeypatch.setattr("activity_indexer.audit.consumer.LOOK_BACK_INTERVAL", 0.0)
    it = worker(records(value("a")))
    task = asyncio.create_task(it.audit.run())
    await it.source.dry.wait()
    it.store.read = {ZERO: Commit(0, "id")}
    await asyncio.wait_for(it.source.left.wait(), 2)
    it.source.starts = [Begun(ZERO, Commit(0, "id"))]
    it.source.give(records(value("a")))
    await it.source.dry.wait()
    await it.audit.stop(Deadline.after(0.2))
    await task
    assert it.source.joined == 2
    assert it.store.read == {ZERO: Commit(1, "id")}


async def test_a_database_that_comes_back_from_an_outage_is_looked_at_at_once(worker: Start) -> None:
    it = worker(records(value("a")))
    other = Partition("transactions", 1)
    task = asyncio.create_task(it.audit.run())
    await it.source.dry.wait()
    it.source.give([Record(value("b"), partition=1)])
    await it.source.dry.wait()
    it.store.failures, it.store.read = [UNAVAILABLE], {ZERO: Commit(0, "id"), other: Commit(1, "id")}
    it.source.give([Record(value("c"), 1, partition=1)])
    await asyncio.wait_for(it.source.left.wait(), 2)
    await it.audit.stop(Deadline.after(0.2))
    await task


async def test_a_restore_between_asking_where_to_begin_and_keeping_it_is_noticed(worker: Start) -> None:
    it = worker()
    it.store.read = {ZERO: Commit(5)}
    it.audit._prepared.set()
    assert it.source.stored is not None
    await it.source.stored([ZERO])
    it.store.read = {ZERO: Commit(3)}
    it.source.starts = [Begun(ZERO, Commit(4, "id"))]
    task = asyncio.create_task(it.audit.run())
    await asyncio.wait_for(it.source.left.wait(), 2)
    await it.audit.stop(Deadline.after(0.2))
    await task
    assert it.store.read == {ZERO: Commit(3)}


async def test_what_was_read_ahead_of_a_rebalance_does_not_say_where_others_begin(worker: Start) -> None:
    it = worker()
    it.store.read = {ZERO: Commit(5000)}  # by the member that has the partition now
    it.source.starts = [Begun(ZERO, Commit(500, "id"))]
    it.source.current = False
    await run_dry(it)
    assert it.store.read == {ZERO: Commit(5000)}


async def test_a_partition_that_begins_twice_is_no_restored_database(worker: Start) -> None:
    it = worker()
    it.store.read = {ZERO: Commit(1000, "old")}
    it.audit._prepared.set()
    assert it.source.stored is not None
    await it.source.stored([ZERO])
    it.source.starts = [Begun(ZERO, Commit(0, "new")), Begun(ZERO, Commit(300, "new"))]
    await run_dry(it)
    assert it.store.read == {ZERO: Commit(300, "new")}
    assert it.source.joined == 1


async def test_a_new_database_without_tables_gets_them_also_while_nothing_is_read(
    worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activity_indexer.audit.consumer.LOOK_BACK_INTERVAL", 0.0)
    it = worker(records(value("a")))
    task = asyncio.create_task(it.audit.run())
    await it.source.dry.wait()
    it.store.failures = [WRONG]
    await eventually(lambda: asyncio.sleep(0, it.store.prepared), 2, timeout=2, every=0.001)
    await it.audit.stop(Deadline.after(0.2))
    await task


async def test_the_next_records_are_read_while_a_batch_is_written(worker: Start) -> None:
    it = worker(records(value("a")), [Record(value("b"), 1)])
    write, handed = it.store.write, []

    async def slow(events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        await asyncio.sleep(0.02)
        handed.append((it.source.handed, it.source.committed))
        return await write(events, read)

    it.store.write = slow  # type: ignore[method-assign]
    await run_dry(it)
    assert handed == [(2, 0), (2, 1)], "what is read ahead is not committed before it is written"


async def test_what_was_read_ahead_of_a_database_that_went_back_is_not_written(worker: Start) -> None:
    it = worker(records(value("a")), [Record(value("b"), 1)], [Record(value("c"), 2)])
    write = it.store.write

    async def restored(events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        if events and events[0].offset == 1 and it.source.joined == 1:
            await asyncio.sleep(0.02)
            it.store.read = {}
        return await write(events, read)

    it.store.write = restored  # type: ignore[method-assign]
    await run_dry(it)
    assert it.source.joined == 2
    assert set(it.store.transactions) == {"a"}


async def test_an_event_that_is_known_is_not_decoded_again(worker: Start) -> None:
    it = worker([Record(b"not even JSON", 0), Record(value("b"), 1), Record(value("c"), 2)])
    known = audit_event("a").event
    it.source.found = {0: known, 1: None, 2: INVALID}
    await run_dry(it)
    assert set(it.store.transactions) == {"a", "b"}
    assert it.metrics.outcomes == {"written": 2, "invalid": 1}


async def test_others_have_their_turn_while_much_is_decoded(worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activity_indexer.audit.consumer.SLICE", 0.0)
    turns = 0
    it = worker(records(*[value("a")] * 100))
    task = asyncio.create_task(it.audit.run())
    while not it.store.writes:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
    await it.audit.stop(Deadline.after(0.2))
    await task


async def test_ties_are_counted(worker: Start) -> None:
    it = worker(records(value("a", status="x"), value("a", status="y"), value("a", status="y")))
    await run_dry(it)
    assert it.metrics.tied == 1


async def test_an_outage_of_kafka_is_waited_for(worker: Start) -> None:
    it = worker(Unavailable("Kafka is unavailable"), Refused("Kafka: no rights"), records(value("a")))
    await run_dry(it)
    assert set(it.store.transactions) == {"a"}
    assert [up for name, up in it.metrics.dependencies if name == "kafka"] == [False, False, True]


async def test_a_commit_that_fails_is_made_up_for(worker: Start) -> None:
    it = worker(records(value("a")))
    it.source.commit_failures = [Unavailable("rebalance")]
    await run_dry(it)
    assert it.source.committed == 1


async def test_no_log_line_holds_an_event(worker: Start) -> None:
    it = worker(records(value("a", metadata={"note": "secret"}), b"secret"))
    it.store.refuses = lambda _: True
    with capture_logs() as logs:
        await run_dry(it)
    assert "secret" not in repr(logs)


async def test_the_end_finishes_the_write_under_way_and_commits_it(worker: Start) -> None:
    it = worker(records(value("a")))
    begun = asyncio.Event()
    write = it.store.write

    async def slow(events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        begun.set()
        await asyncio.sleep(0.05)
        return await write(events, read)

    it.store.write = slow  # type: ignore[method-assign]
    task = asyncio.create_task(it.audit.run())
    await begun.wait()
    await it.audit.stop(Deadline.after(0.2))
    await task
    assert it.source.committed == 1


async def test_the_end_gives_up_a_write_that_hangs_and_commits_nothing(worker: Start) -> None:
    it = worker(records(value("a")))
    begun = asyncio.Event()

    async def hang(events: Sequence[AuditEvent], _: Any) -> int:
        begun.set()
        await asyncio.sleep(60 * len(events))
        return 0

    it.store.write = hang  # type: ignore[method-assign]
    task = asyncio.create_task(it.audit.run())
    await begun.wait()
    started = time.monotonic()
    await it.audit.stop(Deadline.after(0.2))
    assert time.monotonic() - started < 1
    with suppress(asyncio.CancelledError):
        await task
    assert it.source.committed == 0


async def test_the_end_does_not_wait_for_a_database_that_is_unavailable(worker: Start) -> None:
    it = worker(CONSUMER_BACKOFF_INITIAL="30", CONSUMER_BACKOFF_MAX="60")
    it.store.failures = [UNAVAILABLE]
    task = asyncio.create_task(it.audit.run())
    await asyncio.sleep(0.01)
    await it.audit.stop(Deadline.after(0.2))
    await asyncio.wait_for(task, 1)


async def test_stopping_what_never_ran_or_has_ended_is_nothing(worker: Start) -> None:
    it = worker()
    await it.audit.stop(Deadline.after(0.2))
    await it.audit.run()
    await it.audit.stop(Deadline.after(0.2))


async def test_a_defect_is_raised(worker: Start) -> None:
    async def broken(*_: Any) -> int:
        raise KeyError("defect")

    it = worker(records(value("a")))
    it.store.write = broken  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        await it.audit.run()


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 7), st.integers(1, 60))
def test_batches_keep_every_event_in_order_within_both_limits(sizes: list[int], limit: int, limit_bytes: int) -> None:
    base = audit_event("a").event
    events = [
        AuditEvent(msgspec.structs.replace(base, body=b"x" * size), "t", 0, offset) for offset, size in enumerate(sizes)
    ]
    found = list(batches(events, limit, limit_bytes))
    assert [event for batch in found for event in batch] == events
    for batch in found:
        assert 1 <= len(batch) <= limit
        assert len(batch) == 1 or sum(len(event.event.body) for event in batch) <= limit_bytes
