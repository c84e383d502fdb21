"""The parts of the Kafka client that we replace: they are as expected, and do what is wanted in our form."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import FunctionType
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as client_fetcher
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.fetch import FetchRequest
from fixtures.record_batches import Batch, record, values

from activity_indexer.adapters.kafka.records import internals as kafka_internals
from activity_indexer.adapters.kafka.records.batches import FetchedPartition, Reading
from activity_indexer.adapters.kafka.records.internals import RecordsConsumer, batch_maker, size_in_batch
from activity_indexer.errors import Unavailable
from activity_indexer.memory import MemoryShares
from activity_indexer.ports import HeaderName, OutRecord, UndecodedRecord
from activity_indexer.positions import Partition

pytestmark = pytest.mark.simulated_time

TOPIC = "transactions"
ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def test_the_client_is_the_one_whose_parts_are_known() -> None:
    assert version("aiokafka").startswith("0.14."), "read kafka_internals.py beside the new version, then change this"


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (AIOKafkaConsumer.start, {"Fetcher"}),
        (Fetcher._proc_fetch_request, {"MemoryRecords", "PartitionRecords", "FetchResult"}),
    ],
)
def test_the_methods_look_up_the_names_that_are_replaced(method: Any, names: set[str]) -> None:
    assert isinstance(method, FunctionType)
    assert not method.__code__.co_freevars
    assert names <= set(method.__code__.co_names)
    assert names <= method.__globals__.keys()


def test_the_client_has_the_other_parts_that_are_used() -> None:
    assert {"tps", "state_value", "_max_partition_fetch_bytes"} <= set(Fetcher._get_actions_per_node.__code__.co_names)
    assert "next_fetch_offset" in FetchResult._update_position.__code__.co_names
    assert "_builder" in BatchBuilder._set_producer_state.__code__.co_names
    assert client_fetcher.READ_COMMITTED == 1


class Response:
    """A broker's answer to a fetch: the bytes of each partition."""

    API_VERSION = 11

    def __init__(self, contents: dict[TopicPartition, bytes]) -> None:
        self.topics = [
            (TOPIC, [(place.partition, 0, 100, 100, 0, [], -1, content) for place, content in contents.items()])
        ]


class Broker:
    """The client's connection: fetches are answered with what is at the position that they ask for."""

    _metadata_max_age_ms = 1000

    def __init__(self, logs: dict[TopicPartition, dict[int, bytes]]) -> None:
        self.logs = logs
        self.fetches: list[TopicPartition] = []
        self.sizes: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self.cluster = self

    def leader_for_partition(self, _: TopicPartition) -> int:
        return 0

    async def send(self, _: int, request: FetchRequest) -> Response:
        await asyncio.sleep(0.001)
        asked = {TopicPartition(topic, number): at for topic, each in request._topics for number, at, _ in each}
        self.fetches += asked
        self.sizes |= {size for _, each in request._topics for _, _, size in each}
        return Response({place: self.logs[place].get(at, b"") for place, at in asked.items()})


@asynccontextmanager
async def consuming(broker: Broker, shares: MemoryShares | None = None) -> AsyncIterator[RecordsConsumer]:
    """A consumer of both partitions from the beginning, without a server."""
    consumer = RecordsConsumer(max_record_bytes=1000, enable_auto_commit=False)
    subscription: SubscriptionState = consumer._subscription
    subscription.assign_from_user([ZERO, ONE])
    consumer._fetcher = kafka_internals._Fetcher(1000, shares, broker, subscription, fetcher_timeout=0.01)
    for place in (ZERO, ONE):
        consumer.seek(place, 0)
    try:
        yield consumer
    finally:
        await consumer.stop()


async def taken(consumer: RecordsConsumer, wanted: int) -> list[tuple[int, int, Any]]:
    """Partition, offset and value of what is handed out."""
    found: list[tuple[int, int, Any]] = []
    async with asyncio.timeout(2):
        while len(found) < wanted:
            polled = await consumer._fetcher.fetched_records((), 0.02, max_records=100)
            found += [(each.partition, each.offset, each.value) for records in polled.values() for each in records]
    return sorted(found)


def damaged(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


async def test_a_record_that_cannot_be_decoded_is_handed_out_between_its_neighbours() -> None:
    batch = Batch([record(0, b"a"), b"\x02\x00", record(2, b"c")]).encoded()
    broker = Broker({ZERO: {0: batch}, ONE: {0: values(b"x")}})
    async with consuming(broker) as consumer:
        assert await taken(consumer, 4) == [(0, 0, b"a"), (0, 1, b"\x00"), (0, 2, b"c"), (1, 0, b"x")]
        assert consumer.corrupt() == {}
        consumer.check()


async def test_a_damaged_batch_holds_only_its_partition_until_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_internals, "RETRY_INTERVAL", 0.1)
    good = values(b"b", base=1)
    logs = {ZERO: {0: values(b"a") + damaged(good), 1: damaged(good)}, ONE: {0: values(b"x"), 1: values(b"y", base=1)}}
    broker = Broker(logs)
    async with consuming(broker) as consumer:
        assert await taken(consumer, 3) == [(0, 0, b"a"), (1, 0, b"x"), (1, 1, b"y")]
        await asyncio.sleep(0.15)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await taken(consumer, 1)
        ((place, why),) = consumer.corrupt().items()
        assert (place, why.offset, why.reason) == (Partition(TOPIC, 0), 1, "the checksum of the batch is wrong")
        with pytest.raises(Unavailable, match="cannot go on at the offset 1"):
            consumer.check()
        assert broker.fetches.count(ZERO) < 10, "it is not fetched again and again"
        logs[ZERO][1] = good
        assert await taken(consumer, 1) == [(0, 1, b"b")]
        assert consumer.corrupt() == {}


async def test_a_partition_that_was_taken_away_is_no_longer_reported() -> None:
    broker = Broker({ZERO: {0: damaged(values(b"a"))}, ONE: {0: values(b"x")}})
    async with consuming(broker) as consumer:
        await taken(consumer, 1)
        await asyncio.sleep(0.05)
        await consumer._fetcher.fetched_records((), 0.02)
        assert list(consumer.corrupt()) == [Partition(*ZERO)]
        consumer._subscription.assign_from_user([ONE])
        assert consumer.corrupt() == {}


async def test_a_partition_that_was_set_to_another_offset_is_no_longer_reported() -> None:
    broker = Broker({ZERO: {0: damaged(values(b"a"))}, ONE: {0: values(b"x")}})
    async with consuming(broker) as consumer:
        await taken(consumer, 1)
        await asyncio.sleep(0.05)
        await consumer._fetcher.fetched_records((), 0.02)
        assert list(consumer.corrupt()) == [Partition(*ZERO)]
        consumer.seek(ZERO, 5)
        assert consumer.corrupt() == {}


class Accumulator:
    _batch_size = 16_384
    _compression_type = 0
    _txn_manager = None


class Producer:
    _message_accumulator = Accumulator()

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(16_384, 0)


def built(records: Sequence[OutRecord]) -> bytes:
    batch = batch_maker(Producer(), records)()
    for each in records:
        assert batch.append(timestamp=None, key=each.key, value=each.value, headers=list(each.headers))
    batch._set_producer_state(7, 1, 5)
    return bytes(batch._build())


ODD = HeaderName.of(b"\xff\xfe")


@pytest.mark.parametrize("name", ["plain", ODD])
def test_a_batch_takes_any_name_of_a_header(name: str) -> None:
    wanted = OutRecord(b"k", b"v", [("a", b"1"), (name, b"2"), ("a", b"")])
    fetched = FetchedPartition(Reading(Partition(TOPIC, 0), 1000), built([wanted]), 0, lambda *_: None)
    (found,) = fetched
    assert not isinstance(found, UndecodedRecord)
    assert (found.key, found.value) == (b"k", b"v")
    assert [(each.encode(), content) for each, content in found.headers] == [
        (each.encode(), content) for each, content in wanted.headers
    ]


def test_the_size_of_a_record_is_known_before_it_is_written() -> None:
    for headers in ([("plain", b"2")], [(ODD, b"2")], (("plain", b"2"), (ODD, b"2"))):
        wanted = OutRecord(b"k", b"v" * 1000, headers)
        assert len(built([wanted])) <= size_in_batch(wanted) < 1200


async def test_what_is_fetched_of_each_partition_goes_by_their_number() -> None:
    """An answer is kept for each: a hundred partitions must not take a hundred times as much."""
    broker = Broker({ZERO: {0: values(b"a")}, ONE: {0: values(b"x")}})
    async with consuming(broker, MemoryShares(16 * 1024 * 1024)) as consumer:
        await taken(consumer, 2)
    assert broker.sizes == {512 * 1024}
