"""Writes records and read positions in Kafka transactions."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, InvalidTxnState, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.batches import Partitions, batches, handed_over
from activity_indexer.adapters.kafka.client import (
    RECORD_LIMIT,
    Shape,
    admin_client,
    client_arguments,
    create_topic,
    mapped,
    record_limits,
    topics,
)
from activity_indexer.adapters.kafka.dead_letters.replay_lock import replay_lock
from activity_indexer.adapters.kafka.records.internals import size_in_batch
from activity_indexer.dead_letters.spans import Span, Spans
from activity_indexer.errors import ActivityIndexerError, Refused
from activity_indexer.ports import OutRecord
from activity_indexer.positions import Partition
from activity_indexer.replay.ports import Commits, Overtaken, RecordRefused
from activity_indexer.replay.records import Addressed
from activity_indexer.settings import KafkaSettings

BATCH_BYTES: Final = 512 * 1024
"""Bytes that go to a partition at once; a larger record goes alone."""

TRANSACTION_TIMEOUT: Final = 60.0
"""Seconds after which the broker gives an open transaction up: a killed replay holds readers up no longer."""

FOREVER: Final = "-1"
"""Retention of parked dead letters: they wait for an operator."""

_OVERTAKEN = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState)


@asynccontextmanager
async def replay_writing(settings: KafkaSettings, replay_id: str, topic: str) -> AsyncIterator[ReplayTransactions]:
    """The right to write for one replay at a time: the lock and the transactional id have one name.

    `topic` is where events go. Raises ReplayRefused when another replay has it, Unavailable or Refused.
    """
    name = f"{settings.consumer_group}.replay.{settings.dead_letters}"
    async with AsyncExitStack() as stack:
        await _prepare(settings)
        await stack.enter_async_context(replay_lock(settings, name, replay_id))
        group = f"{settings.consumer_group}.replay.{replay_id}"
        yield await stack.enter_async_context(replay_transactions(settings, name, group, [topic, settings.parked]))


async def _prepare(settings: KafkaSettings) -> None:
    """Create the topic of parked dead letters when it does not exist. Raises Refused without any dead letters."""
    async with admin_client(settings) as client:
        known = await topics(client)
        source = known.get(settings.dead_letters)
        if source is None:
            raise Refused(
                f"the dead-letter topic {settings.dead_letters} does not exist: is KAFKA_DEAD_LETTER_TOPIC right?"
            )
        if settings.parked not in known:
            shape = Shape(source.partitions, settings.replication_factor or source.replicas)
            configs = {RECORD_LIMIT: str(settings.max_request_bytes), "retention.ms": FOREVER}
            await create_topic(client, settings.parked, shape, configs)


@asynccontextmanager
async def replay_transactions(
    settings: KafkaSettings, transactional_id: str, group: str, targets: Sequence[str]
) -> AsyncIterator[ReplayTransactions]:
    """Takes over the transactional id: its last holder is fenced, and what it left open is undone.

    `targets` are the topics that are written to. Raises Unavailable or Refused.
    """
    limits = await record_limits(settings, targets)
    producer = AIOKafkaProducer(
        **client_arguments(settings),
        transactional_id=transactional_id,
        transaction_timeout_ms=int(TRANSACTION_TIMEOUT * 1000),
        max_batch_size=min([BATCH_BYTES, *limits.values()]),
        max_request_size=settings.max_request_bytes,
    )
    try:
        async with asyncio.timeout(TRANSACTION_TIMEOUT + settings.request_timeout):
            await producer.start()
        yield ReplayTransactions(producer, group, limits, settings.max_request_bytes)
    except CLIENT_ERRORS as error:
        raise _explained(error) from error
    finally:
        await _stop(producer, settings.request_timeout)


async def _stop(producer: Any, limit: float) -> None:
    try:
        async with asyncio.timeout(limit):
            await producer.stop()
    except CLIENT_ERRORS:  # it was fenced, or is unreachable: there is nothing left to lose
        return


class ReplayTransactions:
    """replay.ports.Transactions: offsets are those of `group`.

    `limits` are the bytes that a record may take, by topic, and `otherwise` for topics that are not among them.
    """

    def __init__(self, producer: Any, group: str, limits: Mapping[str, int], otherwise: int) -> None:
        self._producer = producer
        self._group = group
        self._limits = limits
        self._otherwise = otherwise

    async def commit(self, records: Sequence[Addressed], positions: Commits) -> Spans:
        """Write all of it in one transaction; what fails halfway is undone by the next holder, or after its time."""
        check_sizes(records, self._limits, self._otherwise)
        try:
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                return await self._commit(records, positions)
        except CLIENT_ERRORS as error:
            _look_at(self._producer)
            raise _explained(error) from error

    async def _commit(self, records: Sequence[Addressed], positions: Commits) -> Spans:
        await self._producer.begin_transaction()
        written = dict(await _all([self._write(*each) for each in (await self._partitioned(records)).items()]))
        await self._producer.send_offsets_to_transaction(
            {TopicPartition(*place): OffsetAndMetadata(*position) for place, position in positions.items()}, self._group
        )
        await self._producer.commit_transaction()
        return written

    async def _partitioned(self, records: Sequence[Addressed]) -> Mapping[Partition, list[OutRecord]]:
        known = {topic: await Partitions.of(self._producer, topic) for topic in {record.topic for record in records}}
        found: defaultdict[Partition, list[OutRecord]] = defaultdict(list)
        for each in records:
            partitions, number = known[each.topic], each.partition
            if number is None or number not in partitions.known:
                number = partitions.choose(each.record.key)
            found[Partition(each.topic, number)].append(each.record)
        return found

    async def _write(self, partition: Partition, records: Sequence[OutRecord]) -> tuple[Partition, Span]:
        """Write one partition's records; returns where they lie."""
        offsets: list[int] = []
        for batch, size in batches(self._producer, records):
            reported = await (await handed_over(self._producer, batch, *partition))
            offsets += (reported.offset, reported.offset + size)
        return partition, Span(min(offsets), max(offsets))


async def _all(waiting: Sequence[Any]) -> list[Any]:
    """The results of all; the first error only when every one has ended, so that none is left behind."""
    found = await asyncio.gather(*waiting, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


def check_sizes(records: Sequence[Addressed], limits: Mapping[str, int], otherwise: int) -> None:
    """Raises RecordRefused when one is too large for its topic; `otherwise` is for topics that do not report it."""
    for addressed in records:
        limit = min(otherwise, limits.get(addressed.topic, otherwise))
        size = size_in_batch(addressed.record)
        if size > limit:
            raise RecordRefused(
                f"the record takes {size} bytes, and the topic {addressed.topic} takes {limit}: "
                f"raise its {RECORD_LIMIT}, and KAFKA_MAX_REQUEST_BYTES"
            )


def _look_at(producer: Any) -> None:
    """Take note of what became of the transaction: asyncio complains about errors that were not looked at.

    The client keeps them in futures of its own, and gives no way to them.
    """
    batches = producer._message_accumulator._batches.values()  # noqa: SLF001
    waiting = [batch._drain_waiter for queue in batches for batch in queue]  # noqa: SLF001
    for future in [producer._txn_manager.wait_for_transaction_end(), *waiting]:  # noqa: SLF001
        if future is not None and future.done() and not future.cancelled():
            future.exception()


def _explained(error: BaseException) -> ActivityIndexerError:
    if isinstance(error, _OVERTAKEN):
        return Overtaken(
            "another replay of the same dead letters has begun and taken over: nothing was sent twice. "
            "Wait until it is done, then run this one again to go on"
        )
    return mapped(error)
