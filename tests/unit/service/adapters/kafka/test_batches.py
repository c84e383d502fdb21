"""Records in whole batches: the partition of each, and their order."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as some

from activity_indexer.adapters.kafka.batches import Partitions, batches
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
