"""Events are gathered into batches: none is lost, and each partition keeps its order."""

import asyncio
from itertools import count
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError, ProducerClosed
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from activity_loadgen.generate import Event, generate
from activity_loadgen.options import LoadOptions
from activity_loadgen.outbox import Gathered, Outbox

LOAD = LoadOptions(
    count=300, users=40, seed=1, start_us=1_704_110_400_000_000, scatter_ratio=0.2, traceparent_ratio=0.5
)


class Producer:
    """Takes batches as the client's producer does, and acknowledges them."""

    def __init__(self, partitions: int = 3, batch_bytes: int = 4_000) -> None:
        self.partitions = partitions
        self.sent: list[tuple[int, BatchBuilder]] = []
        self.failures: list[Exception] = []
        self._batch_bytes = batch_bytes
        self._ends: dict[int, int] = {}

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(self.partitions))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self._batch_bytes, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()
        assert batch.closed()
        self.sent.append((partition, batch))
        first = self._ends.get(partition, 0)
        self._ends[partition] = first + batch.record_count()
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        future.set_result(RecordMetadata(topic, partition, TopicPartition(topic, partition), first, -1, 0, 0))
        return future


async def sent(producer: Producer, events: list[Event]) -> dict[tuple[int, int], Event]:
    """Position → event, as the acknowledgements say."""
    found: dict[tuple[int, int], Event] = {}

    def settle(gathered: Gathered, done: asyncio.Future[RecordMetadata]) -> None:
        place = done.result()
        found.update(zip(((place.partition, offset) for offset in count(place.offset)), gathered.events, strict=False))

    outbox = Outbox(producer, "t", settle)
    await outbox.add(events[:100], 1_000_000)
    await outbox.add(events[100:], 2_000_000)
    await outbox.flush()
    await asyncio.sleep(0)
    assert outbox.age == 0
    assert outbox.taken == len(events)
    return found


async def test_each_event_has_its_position_and_each_partition_keeps_the_order() -> None:
    producer, events = Producer(), list(generate(LOAD))
    found = await sent(producer, events)
    assert len(producer.sent) > 20, "batches end when they are full"
    assert len(found) == len(events)
    for partition in range(3):
        ours = [event for event in events if partition_of(event.key, 3) == partition]
        assert [found[partition, offset] for offset in range(len(ours))] == ours


def partition_of(key: bytes, partitions: int) -> int:
    """As the client's own `send` chooses it, and Kafka's Java client."""
    return int(DefaultPartitioner()(key, list(range(partitions)), []))


async def test_keys_follow_a_topic_that_gets_more_partitions() -> None:
    producer, events = Producer(partitions=2), list(generate(LOAD))
    places: dict[int, set[bytes]] = {}

    def settle(gathered: Gathered, done: asyncio.Future[RecordMetadata]) -> None:
        places.setdefault(done.result().partition, set()).update(event.key for event in gathered.events)

    outbox = Outbox(producer, "t", settle)
    await outbox.add(events[:100], 1)
    producer.partitions = 5
    await outbox.add(events[100:], 1)
    await outbox.flush()
    await asyncio.sleep(0)
    assert set(places) == set(range(5))
    for partition, keys in places.items():
        assert all(partition in {partition_of(key, 2), partition_of(key, 5)} for key in keys)


async def test_an_event_larger_than_a_batch_is_sent_in_one_of_its_own() -> None:
    events = list(generate(LoadOptions(count=4, seed=1, update_ratio=0, payload_bytes=10_000)))
    producer = Producer(partitions=1)
    assert len(await sent(producer, events)) == 4
    assert [batch.record_count() for _, batch in producer.sent] == [1, 1, 1, 1]


async def test_a_partition_that_is_full_is_waited_for() -> None:
    producer, events = Producer(), list(generate(LOAD))
    producer.failures = [KafkaTimeoutError(), KafkaTimeoutError()]
    assert len(await sent(producer, events)) == len(events)


async def test_a_batch_that_cannot_be_sent_is_settled_as_failed() -> None:
    producer, events = Producer(partitions=1), list(generate(LOAD))[:5]
    producer.failures = [ProducerClosed()]
    with pytest.raises(ProducerClosed):
        await failed(producer, events)


async def failed(producer: Producer, events: list[Event]) -> Any:
    settled: list[asyncio.Future[RecordMetadata]] = []
    outbox = Outbox(producer, "t", lambda _, done: settled.append(done))
    await outbox.add(events, 1)
    await outbox.flush()
    await asyncio.sleep(0)
    return settled[0].result()
