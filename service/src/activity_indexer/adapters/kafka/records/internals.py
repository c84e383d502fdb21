"""All use of the Kafka client's own parts: consumers that isolate what cannot be decoded, and batches with any header.

The client (aiokafka) decodes what a broker sent while it hands out records, and raises for the first that it cannot
decode: the records before it, and those of other partitions, are lost with it. It has no setting for that, so two of
its methods run here with other classes in place of its own. `test_internals.py` checks that
the names are as they are expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy

from activity_indexer.adapters.kafka.records.batches import FetchedPartition, Reading
from activity_indexer.errors import Unavailable
from activity_indexer.memory import MemoryShares
from activity_indexer.ports import HeaderName, OutRecord
from activity_indexer.positions import Partition

RETRY_INTERVAL: Final = 5.0
"""Seconds after which a partition that cannot go on is fetched again: the damage may have come on the way."""


@dataclass(frozen=True, slots=True)
class CorruptPartition:
    """Why a partition cannot go on at an offset; it is fetched again at `retry_at` (monotonic seconds)."""

    offset: int
    reason: str
    retry_at: float

    def explained(self, partition: Partition, group: str = "") -> str:
        """What is wrong, and what to do about it."""
        skip = (
            f"kafka-consumer-groups --reset-offsets --group {group} --topic {partition.topic}:{partition.partition} "
            f"--to-offset {self.offset + 1} (or the first offset that can be read)"
            if group
            else "read from a later offset"
        )
        return (
            f"partition {partition.partition} of the topic {partition.topic} cannot go on at the offset {self.offset}: "
            f"{self.reason}. It is fetched again every {RETRY_INTERVAL:g} s. If it stays, check the broker's disk and "
            f"its log, and let the partition be restored from another replica; to give the damaged batch up, stop "
            f"the consumers and skip it: {skip}"
        )


class RecordsConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that hands out ports.UndecodedRecord for what it cannot decode, and never raises for it.

    `max_record_bytes` is the size of the largest record; `shares` bound what is fetched and not handed out. A
    partition whose next batch is damaged is left out until it can be read; `corrupt` says which.
    """

    def __init__(self, *, max_record_bytes: int, shares: MemoryShares | None = None, **arguments: Any) -> None:
        super().__init__(**({"fetch_max_bytes": shares.fetch} if shares else {}) | arguments)
        self._max_record_bytes = max_record_bytes
        self._shares = shares

    async def start(self) -> None:
        """Connect, and join the group if there is one."""
        await _with(AIOKafkaConsumer.start, Fetcher=partial(_Fetcher, self._max_record_bytes, self._shares))(self)

    def corrupt(self) -> Mapping[Partition, CorruptPartition]:
        """The assigned partitions that cannot go on, and why; one that was set to another offset is none of them."""
        found: Mapping[TopicPartition, CorruptPartition] = self._fetcher.corrupt if self._fetcher else {}
        if not found:
            return {}
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        return {
            Partition(*place): why
            for place, why in found.items()
            if assignment is not None and place in assignment.tps and _position(assignment, place) == why.offset
        }

    def pass_over(self, holding: bytes) -> None:
        """Hand out no records of batches that do not hold these bytes; of what is assigned after this."""
        self._fetcher.holding = holding

    def check(self) -> None:
        """Raise Unavailable when a partition cannot go on."""
        for partition, why in self.corrupt().items():
            raise Unavailable(f"Kafka: {why.explained(partition)}")


def _position(assignment: Any, place: TopicPartition) -> int | None:
    state = assignment.state_value(place)
    return state.position if state.has_valid_position else None


class _Fetcher(Fetcher):  # type: ignore[misc]
    """Decodes with records.batches, and leaves partitions that cannot go on alone for a while."""

    def __init__(self, max_record_bytes: int, shares: MemoryShares | None, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._max_record_bytes = max_record_bytes
        self._shares = shares
        self._log = structlog.get_logger("activity_indexer.kafka")
        self.corrupt: dict[TopicPartition, CorruptPartition] = {}
        self.holding = b""

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> Any:
        run = _with(Fetcher._proc_fetch_request, MemoryRecords=_Content, PartitionRecords=self._partition)  # noqa: SLF001
        return await run(self, assignment, node_id, request)

    def _get_actions_per_node(self, assignment: Any) -> Any:
        if self._shares:  # an answer is kept for each partition
            self._max_partition_fetch_bytes = self._shares.fetch_of_each(len(assignment.tps))
        now = time.monotonic()
        resting = {place for place, why in self.corrupt.items() if why.retry_at > now}
        return super()._get_actions_per_node(_Without(assignment, resting) if resting else assignment)

    def _partition(
        self, place: TopicPartition, content: _Content, aborted: Sequence[tuple[int, int]] | None, offset: int, *_: Any
    ) -> FetchedPartition:
        committed_only = self._isolation_level == READ_COMMITTED
        reading = Reading(Partition(*place), self._max_record_bytes, committed_only, tuple(aborted or ()), self.holding)
        return FetchedPartition(reading, content.content, offset, partial(self._note, place))

    def _note(self, place: TopicPartition, offset: int, reason: str | None) -> None:
        known = self.corrupt.pop(place, None)
        if reason is None:
            if known is not None:
                self._log.info("kafka.partition_recovered", partition=place.partition, offset=known.offset)
            return
        found = self.corrupt[place] = CorruptPartition(offset, reason, time.monotonic() + RETRY_INTERVAL)
        if known is None or known.offset != offset:
            self._log.error(
                "kafka.partition_corrupt", partition=place.partition, reason=found.explained(Partition(*place))
            )


class _Without:
    """An assignment without some of its partitions, for the choice of what to fetch."""

    def __init__(self, assignment: Any, left_out: Collection[TopicPartition]) -> None:
        self.tps = [place for place in assignment.tps if place not in left_out]
        self.state_value = assignment.state_value


class _Content:
    """What a broker sent for a partition, not looked at yet; in place of the client's class."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content or b""

    def has_next(self) -> bool:
        """Whether there is anything."""
        return bool(self.content)

    def size_in_bytes(self) -> int:
        """How much there is."""
        return len(self.content)


def _with(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """A function that finds other things under some names of its module."""
    assert isinstance(function, FunctionType)  # noqa: S101 - a method of a class
    return FunctionType(
        function.__code__, function.__globals__ | names, function.__name__, function.__defaults__, function.__closure__
    )


def batch_maker(producer: Any, records: Sequence[OutRecord]) -> Callable[[], Any]:
    """Makes batches of a producer that take these records, also with headers whose names are not UTF-8."""
    make: Callable[[], Any] = producer.create_batch
    if not any(map(has_odd_headers, records)):
        return make
    accumulator = producer._message_accumulator  # noqa: SLF001 - it has no other way
    transactions = accumulator._txn_manager  # noqa: SLF001
    return partial(
        _AnyHeadersBatch,
        accumulator._batch_size,  # noqa: SLF001
        accumulator._compression_type,  # noqa: SLF001
        is_transactional=transactions is not None and transactions.transactional_id is not None,
    )


def has_odd_headers(record: OutRecord) -> bool:
    """Whether the name of a header is not UTF-8."""
    for name, _ in record.headers:  # noqa: SIM110 - a generator costs three times as much, for every dead letter
        if type(name) is HeaderName:
            return True
    return False


def size_in_batch(record: OutRecord) -> int:
    """Bytes that a record takes at most in a batch of its own, uncompressed."""
    estimate: Callable[..., int] = DefaultRecordBatchBuilder.estimate_size_in_bytes
    try:
        return estimate(record.key, record.value, record.headers)
    except TypeError:  # it takes a list alone, and names that are plain text: an odd one is longer as text
        return estimate(record.key, record.value, [(str(name), value) for name, value in record.headers])


class _AnyHeadersBatch(BatchBuilder):  # type: ignore[misc]
    """A batch built in Python: the client's compiled one takes no names that are not UTF-8."""

    def __init__(self, batch_size: int, compression: int, *, is_transactional: bool) -> None:
        super().__init__(batch_size, compression, is_transactional=is_transactional)
        self._builder = _DefaultRecordBatchBuilderPy(2, compression, is_transactional, -1, -1, 0, batch_size)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)
