"""Members of a group on one topic in memory: where each begins to read, and when it begins again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from activity_indexer.adapters.kafka import positions as kafka_positions
from activity_indexer.adapters.kafka.group_member import TopicState
from activity_indexer.adapters.kafka.positions import KnownTopic, Positions
from activity_indexer.positions import RECREATED, RETENTION, TRUNCATION, Bounds, Commit, Ends, Loss, Partition
from activity_indexer.reports import DependencyChanged, EventsLost, ProblemChanged, Reported, TopicRecreated
from activity_indexer.settings import KafkaSettings

pytestmark = pytest.mark.simulated_time

TOPIC = "transactions"
ZERO, ONE, TWO = (Partition(TOPIC, number) for number in range(3))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_positions, "RETRY", 0.005)
    monkeypatch.setattr(kafka_positions, "OTHERS_DECIDE", 0.002)


@dataclass
class Broker:
    """One topic, and what one group has committed for it."""

    identifier: str | None = "first"
    bounds: dict[Partition, Bounds] = field(default_factory=lambda: {ZERO: Bounds(0, 10), ONE: Bounds(0, 20)})
    commits: dict[Partition, Commit] = field(default_factory=dict)
    trouble: int = 0

    def recreate(self, identifier: str, end: int) -> None:
        """Kafka forgets the group's offsets with the topic."""
        self.identifier = identifier
        self.bounds = dict.fromkeys(self.bounds, Bounds(0, end))
        self.commits.clear()


@dataclass
class Client:
    """A member's client; `at` is where it reads, `held` what it may not read."""

    broker: Broker
    at: dict[Partition, int] = field(default_factory=dict)
    held: set[Partition] = field(default_factory=set)
    fenced: Callable[[str | None], None] = print

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.broker.trouble:
            self.broker.trouble -= 1
            raise KafkaConnectionError("away")

    async def topic(self, name: str) -> TopicState | None:
        await self._answer()
        identifier = self.broker.identifier
        return None if identifier is None else TopicState(name, identifier, len(self.broker.bounds))

    async def commits(self, partitions: Collection[Partition]) -> Mapping[Partition, Commit]:
        await self._answer()
        return {place: self.broker.commits[place] for place in partitions if place in self.broker.commits}

    async def bounds(self, partitions: Collection[Partition]) -> Mapping[Partition, Bounds]:
        await self._answer()
        return {place: self.broker.bounds[place] for place in partitions}

    async def commit_for_group(self, commits: Mapping[Partition, Commit]) -> None:
        await self._answer()
        self.broker.commits |= commits

    def hold(self, partitions: Collection[Partition]) -> None:
        self.held |= set(partitions)
        self.at |= dict.fromkeys(partitions, 0)

    def go_on(self, partition: Partition, offset: int) -> None:
        self.held.discard(partition)
        self.at[partition] = offset

    async def position(self, place: TopicPartition) -> int:
        return self.at[Partition(*place)]

    def position_now(self, place: Partition) -> int | None:
        return self.at.get(place)


@dataclass
class Member:
    """Positions with a client, a reader and reports of their own."""

    broker: Broker
    reset: Any = "earliest"
    known: KnownTopic = field(default_factory=KnownTopic)
    max_age: float = 0.01
    reported: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client: Any = Client(self.broker)
        settings = KafkaSettings(metadata_max_age=self.max_age)
        self.positions = Positions(self.client, settings, self, self.emit, self.known, self.reset)

    async def join(self, *places: Partition) -> None:
        await self.positions.on_partitions_assigned([TopicPartition(*place) for place in places])
        assert self.client.held >= set(places), "nothing may be read before it is decided where"
        assert not any(self.positions.decided(place) for place in places)

    async def assigned(self, partitions: Collection[Partition]) -> None:
        self.reported.append("assigned")

    async def revoked(self) -> None:
        self.reported.append("revoked")
        await asyncio.sleep(0)

    def emit(self, reported: Reported) -> None:
        match reported:
            case DependencyChanged(problem=str(problem)):
                self.reported.append(problem)
            case ProblemChanged(code="topic"):
                self.problem = reported.problem
            case TopicRecreated():
                self.reported.append("recreated")
            case EventsLost():
                self.reported.append(reported.loss)

    @property
    def losses(self) -> list[Loss]:
        return [each for each in self.reported if isinstance(each, Loss)]


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(2):
        while not check():  # noqa: ASYNC110 - any state of the members
            await asyncio.sleep(0.001)


@asynccontextmanager
async def joined(*members: tuple[Member, Collection[Partition]]) -> AsyncIterator[None]:
    try:
        await asyncio.gather(*(member.join(*places) for member, places in members))
        for member, places in members:
            await until(lambda: all(map(member.positions.decided, places)))  # noqa: B023 - awaited here
        yield
    finally:
        for member, _ in members:
            await member.positions.close()


async def test_a_new_group_begins_at_the_first_record() -> None:
    member = Member(Broker(bounds={ZERO: Bounds(3, 10)}))
    async with joined((member, [ZERO])):
        assert member.client.at == {ZERO: 3}
        assert not member.client.held
        assert member.reported == ["assigned"]


@pytest.mark.parametrize("zero_first", [True, False])
async def test_members_of_a_new_group_that_begins_at_the_end_begin_together(zero_first: bool) -> None:
    broker = Broker()
    members = [(Member(broker, "latest"), [ZERO]), (Member(broker, "latest"), [ONE])]
    async with joined(*(members if zero_first else reversed(members))):
        assert members[0][0].client.at == {ZERO: 10}
        assert members[1][0].client.at == {ONE: 20}
        assert broker.commits == {ZERO: Commit(10, "first"), ONE: Commit(20, "first")}


async def test_what_comes_while_the_others_join_is_read() -> None:
    broker = Broker()
    async with joined((Member(broker, "latest"), [ZERO])):
        broker.bounds[ONE] = Bounds(0, 25)
        late = Member(broker, "latest")
        async with joined((late, [ONE])):
            assert late.client.at == {ONE: 20}


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_a_partition_that_is_added_later_is_read_from_its_first_record(reset: str) -> None:
    broker = Broker(commits={ZERO: Commit(10, "first")})
    broker.bounds[TWO] = Bounds(0, 7)
    member = Member(broker, reset)
    async with joined((member, [ZERO, TWO])):
        assert member.client.at == {ZERO: 10, TWO: 0}


async def test_what_retention_took_before_the_start_is_reported_once() -> None:
    member = Member(Broker(bounds={ZERO: Bounds(60, 100)}, commits={ZERO: Commit(20)}))
    async with joined((member, [ZERO])):
        await asyncio.sleep(0.03)
        assert member.client.at == {ZERO: 60}
        assert member.losses == [Loss(ZERO, RETENTION, 20, 40)]


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_what_retention_took_while_it_was_read_is_reported_and_passed(reset: str) -> None:
    broker = Broker(commits={ZERO: Commit(2, "first"), ONE: Commit(9, "first")})
    member = Member(broker, reset, max_age=60)
    async with joined((member, [ZERO, ONE])):
        broker.bounds[ZERO] = Bounds(8, 10)
        member.client.at[ZERO] = 5
        member.positions.out_of_range([ZERO])
        await until(lambda: member.losses)
        assert member.client.at == {ZERO: 8, ONE: 9}
        assert member.losses == [Loss(ZERO, RETENTION, 5, 3)]
        assert member.reported[0] == "assigned"
        assert "revoked" not in member.reported, "going forward interrupts nothing"


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_a_truncated_partition_is_read_again_and_nothing_in_flight_is_left_behind(reset: str) -> None:
    broker = Broker(commits={ZERO: Commit(4, "first"), ONE: Commit(9, "first")})
    member = Member(broker, reset, max_age=60)
    async with joined((member, [ZERO, ONE])):
        broker.bounds[ZERO] = Bounds(0, 6)
        member.client.at |= {ZERO: 10, ONE: 15}
        member.positions.out_of_range([ZERO])
        await until(lambda: member.losses and not member.client.held)
        assert member.client.at == {ZERO: 0, ONE: 9}, "what the drain gave up of the other partition comes again"
        assert member.losses == [Loss(ZERO, TRUNCATION, 6, 4)]
        assert member.reported[:3] == ["assigned", "revoked", "assigned"]


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_a_topic_that_was_created_again_is_read_from_its_first_record(reset: str) -> None:
    broker = Broker(commits={ZERO: Commit(10, "first"), ONE: Commit(12, "first")})
    member = Member(broker, reset)
    async with joined((member, [ZERO, ONE])):
        member.positions.note({ZERO: Ends(10, 10), ONE: Ends(20, 20)})
        broker.recreate("second", 50)
        broker.commits[ONE] = Commit(13, "first")
        await until(lambda: "recreated" in member.reported and not member.client.held)
        assert member.client.at == {ZERO: 0, ONE: 0}
        assert member.positions.topic_id == "second"
        assert member.losses == [Loss(ONE, RECREATED, 12, 8)], "what the old topic held and was not read"
        await asyncio.sleep(0.03)
        assert member.reported.count("recreated") == 1


async def test_a_position_that_is_in_range_is_left_alone() -> None:
    broker = Broker(commits={ZERO: Commit(2, "first")})
    member = Member(broker, max_age=60)
    async with joined((member, [ZERO])):
        member.positions.out_of_range([ZERO])
        member.client.go_on = None  # it may have been read on since
        await asyncio.sleep(0.02)
        member.positions.check()
        assert member.reported == ["assigned"]


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_offsets_of_another_topic_of_the_name_mean_nothing_to_a_process_that_starts(reset: str) -> None:
    broker = Broker("second", commits={ZERO: Commit(5, "first")})
    member = Member(broker, reset)
    async with joined((member, [ZERO])):
        assert member.client.at == {ZERO: 0}
        assert member.reported == ["assigned", "recreated"]


async def test_what_is_known_of_the_topic_outlives_an_assignment() -> None:
    broker, known = Broker(), KnownTopic()
    member = Member(broker, "latest", known)
    async with joined((member, [ZERO])):
        pass
    broker.recreate("second", 50)
    again = Member(broker, "latest", known)
    async with joined((again, [ZERO])):
        assert again.client.at == {ZERO: 0}, "the group is not new, only its topic is"
        assert "recreated" in again.reported


async def test_a_missing_topic_is_reported_until_it_is_there() -> None:
    broker = Broker()
    member = Member(broker)
    async with joined((member, [ZERO])):
        broker.identifier = None
        await until(lambda: member.problem)
        assert member.problem == "topic transactions does not exist: create it"
        broker.identifier = "first"
        await until(lambda: member.problem is None)
        assert member.client.at == {ZERO: 0}


async def test_a_member_without_partitions_reports_a_missing_topic_too() -> None:
    member = Member(Broker(identifier=None))
    await member.join()
    await until(lambda: getattr(member, "problem", None))
    await member.positions.close()


async def test_a_broker_that_does_not_answer_is_asked_again() -> None:
    member = Member(Broker(trouble=4, commits={ZERO: Commit(5, "first")}))
    async with joined((member, [ZERO])):
        assert member.client.at == {ZERO: 5}
        assert len([each for each in member.reported if "away" in str(each)]) == 4


async def test_a_revoked_assignment_is_decided_no_more() -> None:
    broker = Broker(identifier=None)
    member = Member(broker)
    await member.join(ZERO)
    await until(lambda: hasattr(member, "problem"))
    await member.positions.on_partitions_revoked([TopicPartition(*ZERO)])
    del member.problem
    await asyncio.sleep(0.02)
    assert not hasattr(member, "problem"), "not asked any more"
    assert member.client.held == {ZERO}
    assert member.reported == ["assigned", "revoked"]


async def test_the_first_assignment_revokes_nothing() -> None:
    member = Member(Broker())
    await member.positions.on_partitions_revoked([])
    assert member.reported == []


async def test_commits_may_be_kept_elsewhere() -> None:
    member = Member(Broker(commits={ZERO: Commit(1, "first")}))

    async def stored(_: Collection[Partition]) -> Mapping[Partition, Commit]:
        return {ZERO: Commit(7, "first")}

    answer: Callable[[Collection[Partition]], Awaitable[Mapping[Partition, Commit]]] = stored
    member.positions = Positions(member.client, KafkaSettings(), member, member.emit, KnownTopic(), "earliest", answer)
    async with joined((member, [ZERO])):
        assert member.client.at == {ZERO: 7}


async def test_a_defect_does_not_leave_partitions_held_in_silence() -> None:
    member = Member(Broker())

    async def broken(_: Collection[Partition]) -> Mapping[Partition, Commit]:
        raise ZeroDivisionError

    member.positions = Positions(member.client, KafkaSettings(), member, member.emit, KnownTopic(), "earliest", broken)
    await member.join(ZERO)
    member.positions.check()
    await asyncio.sleep(0.02)
    with pytest.raises(ZeroDivisionError):
        member.positions.check()
