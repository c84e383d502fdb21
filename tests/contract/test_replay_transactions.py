"""What a replay expects of transactions: of Kafka, and of the one in memory that its tests use."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from fixtures.memory.replay import MemoryLog
from fixtures.servers.place import Place, Servers
from fixtures.servers.replays import create

from activity_indexer.adapters.kafka.client import admin_client
from activity_indexer.adapters.kafka.dead_letters.replay_positions import committed
from activity_indexer.adapters.kafka.dead_letters.replay_transactions import replay_transactions
from activity_indexer.dead_letters.spans import Span
from activity_indexer.ports import OutRecord
from activity_indexer.positions import Partition
from activity_indexer.replay.ports import Commits, Overtaken, RecordRefused, Transactions
from activity_indexer.replay.records import Addressed
from activity_indexer.settings import KafkaSettings

GROUP = "group.replay.r"


@dataclass
class Subject:
    """`holder` takes the transactional id over, `read` gives what a reader of committed records sees."""

    topic: str
    holder: Callable[[], Awaitable[Transactions]]
    read: Callable[[], Awaitable[list[Any]]]
    positions: Callable[[], Awaitable[Commits]]
    large: int

    def places(self, *offsets: int) -> dict[Partition, tuple[int, str]]:
        return {Partition(self.topic, at): (offset, f'{{"v":{offset}}}') for at, offset in enumerate(offsets)}

    def to(self, partition: int | None, *values: bytes | None) -> Sequence[Addressed]:
        return [Addressed(self.topic, partition, OutRecord(value, value, [("h", b"1")])) for value in values]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "memory":
        log = MemoryLog(largest=1000)

        async def holder() -> Transactions:
            return log.take_over(GROUP)

        async def read() -> list[Any]:
            return log.all("t")

        yield Subject("t", holder, read, lambda: log.committed(GROUP, [Partition("t", 0), Partition("t", 1)]), 1000)
        return
    servers: Servers = request.getfixturevalue("stack")
    async with Place.on(servers) as place, _on_kafka(place) as found:
        yield found


@asynccontextmanager
async def _on_kafka(place: Place) -> AsyncIterator[Subject]:
    settings = KafkaSettings(bootstrap_servers=place.servers.kafka)
    topic = f"{place.name}.target"
    await create(place, topic, partitions=2)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(admin_client(settings))

        async def holder() -> Transactions:
            found: Transactions = await stack.enter_async_context(
                replay_transactions(settings, place.name, place.group, [topic])
            )
            return found

        async def positions() -> Commits:
            found: Commits = await committed(client, place.group, [Partition(topic, 0), Partition(topic, 1)])
            return found

        yield Subject(topic, holder, lambda: place.records(topic), positions, 2_000_000)
    await place.admin.delete_topics([topic])


async def test_records_and_positions_are_there_together(subject: Subject) -> None:
    transactions = await subject.holder()
    await transactions.commit((), subject.places(3, 4))
    assert await subject.positions() == subject.places(3, 4)
    written = await transactions.commit(subject.to(1, b"a", b"b", None), subject.places(5))
    assert await subject.positions() == subject.places(5, 4)
    records = await subject.read()
    assert [(record.partition, record.key, record.value) for record in records] == [
        (1, b"a", b"a"),
        (1, b"b", b"b"),
        (1, None, None),
    ]
    assert {place: span.length for place, span in written.items()} == {Partition(subject.topic, 1): 3}
    assert [list(record.headers) for record in records] == [[("h", b"1")]] * 3


async def test_written_spans_are_where_records_lie(subject: Subject) -> None:
    transactions = await subject.holder()
    for value in (b"a", b"b"):
        written = await transactions.commit(subject.to(0, value, value), subject.places(1))
        (span,) = written.values()
        lies = [record.offset for record in await subject.read() if record.value == value]
        assert span == Span(lies[0], lies[-1] + 1)


async def test_a_record_that_is_too_large_takes_all_with_it_and_the_next_transaction_passes(subject: Subject) -> None:
    transactions = await subject.holder()
    with pytest.raises(RecordRefused):
        await transactions.commit(subject.to(0, b"small", b"x" * (subject.large + 1)), subject.places(9))
    await transactions.commit(subject.to(0, b"next"), subject.places(1))
    assert [record.value for record in await subject.read()] == [b"next"]
    assert await subject.positions() == subject.places(1)


async def test_the_next_holder_fences_the_one_before(subject: Subject) -> None:
    first = await subject.holder()
    await first.commit(subject.to(0, b"a"), subject.places(1))
    second = await subject.holder()
    with pytest.raises(Overtaken):
        await first.commit(subject.to(0, b"b"), subject.places(2))
    await second.commit(subject.to(0, b"c"), subject.places(3))
    assert [record.value for record in await subject.read()] == [b"a", b"c"]
    assert await subject.positions() == subject.places(3)
