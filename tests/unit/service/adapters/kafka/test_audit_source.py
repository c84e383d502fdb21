"""How long the audit's oldest record waits, as its member of the group reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from activity_indexer.adapters.kafka import audit_source
from activity_indexer.adapters.kafka.audit_beside import WORTHWHILE, BesideIndexer
from activity_indexer.adapters.kafka.audit_source import KafkaAuditSource
from activity_indexer.errors import Unavailable
from activity_indexer.offsets import Span
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decoded_events import INVALID, DecodedEvents
from activity_indexer.ports import Backlog
from activity_indexer.positions import Ends, Partition
from activity_indexer.settings import load_settings

PLACE = TopicPartition("transactions", 0)
NOW = 1_700_000_000.0


@dataclass(frozen=True)
class Record:
    offset: int
    published: float

    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = PLACE.topic
    partition: int = PLACE.partition

    @property
    def timestamp(self) -> int:
        return int(self.published * 1000)


@dataclass
class Client:
    """A consumer with one partition; each of `polls` is handed out once."""

    polls: list[Sequence[Record]] = field(default_factory=list)
    end: int = 0
    at: int = 0
    stable: int | None = None
    stopped: bool = False
    commits: list[dict[TopicPartition, tuple[int, str]]] = field(default_factory=list)
    failure: Exception | None = None
    corrupt: str = ""

    def check(self) -> None:
        if self.corrupt:
            raise Unavailable(self.corrupt)

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    async def getmany(self, **_: Any) -> Mapping[TopicPartition, Sequence[Record]]:
        if self.failure:
            raise self.failure
        if not self.polls:
            return {}
        records = self.polls.pop(0)
        self.at = records[-1].offset + 1
        return {PLACE: records}

    async def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        self.commits.append(dict(offsets))

    async def ends(self, places: Sequence[Partition]) -> Mapping[Partition, Ends]:
        return dict.fromkeys(places, Ends(self.end, self.end if self.stable is None else self.stable))

    def position_now(self, _: Partition) -> int:
        return self.at

    async def stop(self) -> None:
        self.stopped = True

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    def pause(self, _: TopicPartition) -> None:
        pass

    def resume(self, _: TopicPartition) -> None:
        pass


@dataclass
class Decided:
    """Positions that are decided."""

    topic_id: str = "x"
    strayed: list[Partition] = field(default_factory=list)

    def decided(self, _: Partition) -> bool:
        return True

    def note(self, ends: Mapping[Partition, Ends]) -> None:
        pass

    def out_of_range(self, places: Iterable[Partition]) -> None:
        self.strayed += places

    def check(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass
class Clock:
    now: float = NOW


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(audit_source.time, "time", lambda: clock.now)
    return clock


@pytest.fixture
def source(client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> KafkaAuditSource:
    async def join(*_: Any, **__: Any) -> Client:
        return client

    assert clock.now == NOW
    monkeypatch.setattr(audit_source, "join_group", join)
    monkeypatch.setenv("CONSUMER_COMMIT_INTERVAL", "0.001")
    found = KafkaAuditSource(load_settings())
    found._positions = Decided()
    return found


async def backlog(source: KafkaAuditSource) -> Backlog:
    return (await source.lag())[Partition(*PLACE)]


async def test_what_was_handed_out_waits_since_its_first_record_was_published(
    source: KafkaAuditSource, client: Client
) -> None:
    client.polls, client.end = [[Record(0, NOW - 60), Record(1, NOW - 50)]], 5
    await source.poll()
    assert await backlog(source) == Backlog(5, 60.0)


async def test_it_goes_on_waiting_while_nothing_is_committed(
    source: KafkaAuditSource, client: Client, clock: Clock
) -> None:
    client.polls, client.end = [[Record(0, NOW - 60)], [Record(1, NOW - 50)]], 2
    await source.poll()
    await source.poll()
    clock.now += 600
    assert await backlog(source) == Backlog(2, 660.0)


async def test_what_is_committed_waits_no_longer(source: KafkaAuditSource, client: Client) -> None:
    client.polls, client.end = [[Record(0, NOW - 60), Record(1, NOW - 50)]], 2
    await source.commit(await source.poll())
    assert await backlog(source) == Backlog(0, 0.0)


async def test_what_comes_after_a_commit_was_published_after_what_it_holds(
    source: KafkaAuditSource, client: Client
) -> None:
    client.polls, client.end = [[Record(0, NOW - 60), Record(1, NOW - 50)]], 3
    await source.commit(await source.poll())
    assert await backlog(source) == Backlog(1, 50.0)


async def test_a_quiet_hour_makes_the_next_event_no_older(
    source: KafkaAuditSource, client: Client, clock: Clock
) -> None:
    client.polls, client.end = [[Record(0, NOW - 60)]], 1
    await source.commit(await source.poll())
    clock.now += 3_600
    assert await backlog(source) == Backlog(0, 0.0)
    client.end = 2
    clock.now += 5
    assert await backlog(source) == Backlog(1, 5.0)


async def test_a_new_assignment_is_measured_from_its_start_until_records_come(
    source: KafkaAuditSource, client: Client, clock: Clock
) -> None:
    client.end = 4
    await source.poll()
    clock.now += 30
    assert await backlog(source) == Backlog(4, 30.0)


async def test_a_producers_clock_that_is_ahead_makes_no_negative_age(source: KafkaAuditSource, client: Client) -> None:
    client.polls, client.end = [[Record(0, NOW + 60)]], 1
    await source.poll()
    assert await backlog(source) == Backlog(1, 0.0)


@pytest.mark.parametrize("published", [-0.001, 0.0, NOW / 1000, NOW * 1000])
async def test_records_whose_timestamp_cannot_be_true_are_measured_from_when_they_were_read(
    source: KafkaAuditSource, client: Client, clock: Clock, published: float
) -> None:
    """Neither from 1970 nor from the assignment: a stream of them would age without end."""
    client.polls, client.end = [[Record(0, published)]], 2
    clock.now += 600
    polled = await source.poll()
    clock.now += 30
    assert await backlog(source) == Backlog(2, 30.0)
    await source.commit(polled)
    assert await backlog(source) == Backlog(1, 30.0), "what is left was published after that"
    client.polls = [[Record(1, published)]]
    await source.poll()
    assert await backlog(source) == Backlog(1, 0.0)


async def test_an_offset_is_committed_with_the_topics_id(source: KafkaAuditSource, client: Client) -> None:
    client.polls = [[Record(0, NOW), Record(1, NOW)]]
    await source.commit(await source.poll())
    assert client.commits == [{PLACE: (2, "topic-id=x")}]


async def test_what_an_earlier_assignment_handed_out_is_not_committed(source: KafkaAuditSource, client: Client) -> None:
    client.polls, client.end = [[Record(0, NOW), Record(1, NOW)]], 2
    polled = await source.poll()
    source._forget()
    await source.commit(polled)
    assert client.commits == []


async def test_what_is_read_ahead_waits_after_what_was_read_before_is_committed(
    source: KafkaAuditSource, client: Client
) -> None:
    client.polls, client.end = [[Record(0, NOW - 60), Record(1, NOW - 50)]], 4
    first = await source.poll()
    client.polls = [[Record(2, NOW - 40), Record(3, NOW)]]
    second = await source.poll()
    await source.commit(first)
    assert await backlog(source) == Backlog(2, 40.0)
    await source.commit(second)
    assert await backlog(source) == Backlog(0, 0.0)
    assert [commit[PLACE][0] for commit in client.commits] == [2, 4]


async def test_offsets_that_the_broker_does_not_have_are_looked_after(source: KafkaAuditSource, client: Client) -> None:
    await source.poll()
    client.failure = OffsetOutOfRangeError({PLACE: 7})
    assert (await source.poll()).records == []
    assert source._positions.strayed == [Partition(*PLACE)]


async def test_what_an_open_transaction_holds_back_is_lag_and_no_stall(
    source: KafkaAuditSource, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.poll()
    client.end, client.stable = 5, 0
    assert (await backlog(source)).events == 5
    monkeypatch.setattr(source, "_moved_at", float("-inf"))
    await source.poll()
    assert not client.stopped
    client.stable = 5
    monkeypatch.setattr(source, "_moved_at", float("-inf"))
    with pytest.raises(Unavailable, match="none came"):
        await source.poll()
    assert client.stopped


async def test_a_damaged_batch_is_the_reason_and_no_stall_that_a_new_client_would_end(
    source: KafkaAuditSource, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.poll()
    client.end, client.corrupt = 5, "partition 0 cannot go on at the offset 0"
    monkeypatch.setattr(source, "_moved_at", float("-inf"))
    with pytest.raises(Unavailable, match="cannot go on at the offset 0"):
        await source.poll()
    assert not client.stopped


async def test_what_the_indexer_decoded_is_handed_out_and_committed_as_what_is_fetched(
    source: KafkaAuditSource, client: Client
) -> None:
    decoded = DecodedEvents(1 << 24)
    decoded.topic_id = lambda: "x"
    source._beside = BesideIndexer(decoded)
    source._begin_assignment([Partition(*PLACE)])
    client.polls = [[Record(0, NOW - 60), Record(1, NOW - 50)]]
    assert (await source.poll()).found == [None, None]
    records = [Record(offset, NOW - 40) for offset in range(2, 2 + WORTHWHILE)]
    decoded.keep(Batch(0.0, [*records], [Span([record.offset for record in records])]), [None] * WORTHWHILE)
    polled = await source.poll()
    assert polled.records == records
    assert polled.found == [INVALID] * WORTHWHILE
    client.end = 2 + WORTHWHILE
    assert await backlog(source) == Backlog(2 + WORTHWHILE, 60.0)
    await source.commit(polled)
    assert client.commits[-1][PLACE] == (2 + WORTHWHILE, "topic-id=x")
    assert await backlog(source) == Backlog(0, 0.0)
