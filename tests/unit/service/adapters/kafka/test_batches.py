"""Records in whole batches: the partition of each, and their order."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as some

from activity_indexer.adapters.kafka.batches import Partitions, batches, handed_over
from activity_indexer.ports import HeaderName, OutRecord


class Producer:
    """The client's producer, as far as it is used here: of one topic with five partitions, one without a leader."""

    _message_accumulator = SimpleNamespace(_batch_size=1000, _compression_type=0, _txn_manager=None)

    def __init__(self) -> None:
        self.client = self.cluster = self

    async def partitions_for(self, _: str) -> set[int]:
        return {4, 3, 0, 1, 2}

    def available_partitions_for_topic(self, _: str) -> set[int]:
        return {0, 1, 2, 4}

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(1000, 0)


@given(some.binary(max_size=200))
def test_a_key_goes_where_every_client_has_it(key: bytes) -> None:
    partitions = Partitions(range(5), range(5))
    assert partitions.choose(key) == DefaultPartitioner()(key, list(range(5)), list(range(5)))


async def test_what_has_no_key_goes_to_any_partition_that_has_a_leader() -> None:
    partitions = await Partitions.of(Producer(), "t")
    assert {partitions.choose(None) for _ in range(200)} == {0, 1, 2, 4}
    assert {partitions.choose(b"%d" % key) for key in range(200)} == {0, 1, 2, 3, 4}


def read(batch: Any) -> list[tuple[bytes | None, bytes | None]]:
    found = MemoryRecords(bytes(batch._build())).next_batch()
    return [(record.key, record.value) for record in found]


@pytest.mark.parametrize("odd", [False, True])
def test_all_records_are_in_batches_in_their_order_and_a_large_one_is_alone(odd: bool) -> None:
    headers = [(HeaderName.of(b"\xff") if odd else "plain", b"1")]
    sizes = [100, 300, 700, 5000, 10, 10, 600, 600]
    records = [OutRecord(b"%d" % at, b"v" * size, headers) for at, size in enumerate(sizes)]
    found = list(batches(Producer(), [*records, OutRecord(None, None, [])]))
    assert [size for _, size in found] == [batch.record_count() for batch, _ in found]
    if not odd:  # the client's own reader takes no such names
        assert [[len(value or b"") for _, value in read(batch)] for batch, _ in found] == [
            [100, 300],
            [700],
            [5000],
            [10, 10, 600],
            [600, 0],
        ]
    assert [size for _, size in found] == [2, 1, 1, 3, 2]


def test_of_nothing_there_is_no_batch() -> None:
    assert list(batches(Producer(), [])) == []


@pytest.mark.parametrize("left", [None, {0}])
async def test_a_partition_that_is_removed_after_it_was_chosen_is_an_error_that_passes(
    left: set[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client's own producer, whose topic was deleted, or created again with fewer partitions."""
    producer = AIOKafkaProducer(bootstrap_servers="localhost:1")

    async def known(_: str) -> None:
        """No server is asked."""

    monkeypatch.setattr(producer.client, "_wait_on_metadata", known)
    monkeypatch.setattr(producer.client.cluster, "partitions_for_topic", lambda _: left)
    with pytest.raises(UnknownTopicOrPartitionError, match="t does not have the partition 1 any more"):
        await handed_over(producer, producer.create_batch(), "t", 1)
    await producer.stop()


async def test_another_failure_of_the_client_stays_what_it_is() -> None:
    class Defect(Producer):
        async def send_batch(self, *_: Any, **__: Any) -> None:
            raise TypeError("a defect")

        def partitions_for_topic(self, _: str) -> set[int]:
            return {1}

    with pytest.raises(TypeError, match="a defect"):
        await handed_over(Defect(), None, "t", 1)
