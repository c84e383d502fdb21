"""Records to be written, in whole batches by partition.

The client's `send` makes a future for each record, and lets all that find no room in a partition's batch wait for each
other: that is most of the cost of a record, and grows with the square of their number. `send_batch` has one future for
a batch. It takes records without key and value, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.partitioner import DefaultPartitioner, murmur2

from activity_indexer.adapters.kafka.records.internals import batch_maker
from activity_indexer.ports import OutRecord

MAX_KEPT_KEY: Final = 64
"""Bytes of a key whose hash is kept."""


class Partitions(NamedTuple):
    """The numbers of a topic's partitions: all, and those that have a leader."""

    known: Sequence[int]
    available: Sequence[int]

    @classmethod
    async def of(cls, producer: Any, topic: str) -> Partitions:
        """As the producer knows them. Raises the client's errors."""
        known = sorted(await producer.partitions_for(topic))
        return cls(known, sorted(producer.client.cluster.available_partitions_for_topic(topic) or ()))

    def choose(self, key: bytes | None) -> int:
        """The partition of a key, as every client of Kafka chooses it; without a key any one that has a leader."""
        if key is None or len(key) > MAX_KEPT_KEY:
            number: int = DefaultPartitioner()(key, self.known, self.available)
            return number
        return self.known[_hash(key) % len(self.known)]


@lru_cache(maxsize=8192)
def _hash(key: bytes) -> int:
    """The positive hash of a key, as the client's partitioner has it: in Python, and for the same few users."""
    return int(murmur2(key)) & 0x7FFFFFFF


def batches(producer: Any, records: Sequence[OutRecord]) -> Iterator[tuple[Any, int]]:
    """Full batches of one partition's records in their order, each with the number of its records.

    A batch is made when it is asked for. A record that is larger than the producer's `max_batch_size` is alone in one.
    """
    make = batch_maker(producer, records)
    batch = make()
    for record in records:
        key, value, headers = record.key, record.value, list(record.headers)
        if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:  # an empty one takes any record
            yield batch, batch.record_count()
            batch = make()
            batch.append(key=key, value=value, timestamp=None, headers=headers)
    if records:
        yield batch, batch.record_count()


async def handed_over(producer: Any, batch: Any, topic: str, partition: int) -> Any:
    """What to wait for, once the client has the batch.

    Raises the client's errors. Also for a partition that was removed since it was chosen: the client asserts that it
    knows the partition, and fails over a topic that it does not know any more.
    """
    try:
        return await producer.send_batch(batch, topic, partition=partition)
    except (AssertionError, TypeError) as error:
        if partition in (producer.client.cluster.partitions_for_topic(topic) or ()):
            raise
        raise UnknownTopicOrPartitionError(
            f"the topic {topic} does not have the partition {partition} any more"
        ) from error
