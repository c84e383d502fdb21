"""The consumer group's member and the dead-letter topic's producer, by aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidTimestampError, KafkaError, MessageSizeTooLargeError, RecordTooLargeError

from activity_indexer.adapters.kafka_client import (
    CLIENT_ERRORS,
    client_arguments,
    mapped,
    prepare_topics,
    within,
)
from activity_indexer.adapters.kafka_consumers import join_group
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.ports import OutRecord, Partition, Record
from activity_indexer.settings import KafkaSettings


class Member(Protocol):
    """Who is told of assignments."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """The group gave these partitions."""

    async def revoked(self) -> None:
        """The group takes all partitions back."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: Member) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if list(revoked):
            await self._member.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._member.assigned([Partition(*partition) for partition in assigned])


class GroupSource:
    """A member of the consumer group, as consumer.RecordSource wants it."""

    def __init__(self, settings: KafkaSettings, report: Callable[[str | None], None]) -> None:
        self._settings = settings
        self._report = report
        self._log = structlog.get_logger("activity_indexer.kafka")
        self._consumer: Any = None

    async def start(self, member: Member) -> None:
        """Join the group. Raises Unavailable or Refused."""
        self._consumer = await join_group(self._settings, self._settings.consumer_group, _Listener(member))

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            try:
                await self._consumer.stop()
            except CLIENT_ERRORS as error:
                self._log.warning("kafka.stop_failed", error=str(mapped(error)))

    async def poll(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:  # noqa: ASYNC109
        """Records of the current assignment; none when the client failed, which is reported."""
        try:
            polled = await self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=max_records)
        except (KafkaError, OSError) as error:
            self._report(str(mapped(error)))
            await asyncio.sleep(1.0)
            return {}
        if polled:
            self._report(None)
        return {Partition(*partition): records for partition, records in polled.items()}

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets, within the request timeout."""
        try:
            await within(
                self._settings.request_timeout,
                self._consumer.commit({TopicPartition(*partition): offset for partition, offset in offsets.items()}),
            )
        except ActivityIndexerError as error:
            self._log.warning("offsets.commit_failed", error=str(error), partitions=len(offsets))
            raise

    async def position(self, partition: Partition) -> int | None:
        """The next offset that poll hands out."""
        state = self._consumer.assignment()
        if TopicPartition(*partition) not in state:
            return None
        position: int = await within(1.0, self._consumer.position(TopicPartition(*partition)))
        return position

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Hand out these partitions from these offsets on."""
        assigned = self._consumer.assignment()
        for partition, offset in offsets.items():
            if (place := TopicPartition(*partition)) in assigned:
                self._consumer.seek(place, offset)

    async def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Where the partitions end now."""
        try:
            ends = await within(
                self._settings.request_timeout,
                self._consumer.end_offsets([TopicPartition(*partition) for partition in partitions]),
            )
        except ActivityIndexerError as error:
            self._report(str(error))
            raise
        self._report(None)
        return {Partition(*partition): end for partition, end in ends.items()}


class DeadLetterTopic:
    """Writes dead letters; an idempotent producer that is made anew when it broke.

    `prepare` sees to the topic before: it may be gone, and the broker would make it in its own way.
    """

    def __init__(
        self, settings: KafkaSettings, prepare: Callable[[KafkaSettings], Awaitable[object]] = prepare_topics
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def send(self, records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        """Write records; returns those that are not acknowledged, and why."""
        try:
            producer = await self._started()
            outcomes = await asyncio.gather(*(self._send(producer, record) for record in records))
        except ActivityIndexerError as error:
            return records, str(error)
        except CLIENT_ERRORS as error:
            return records, str(mapped(error))
        unsent = [record for record, problem in zip(records, outcomes, strict=True) if problem]
        if unsent:
            await self.stop()
        return unsent, next(filter(None, outcomes), "")

    async def _send(self, producer: Any, record: OutRecord) -> str:
        try:
            await (await _written(producer, self._settings.dead_letters, record))
        except (MessageSizeTooLargeError, RecordTooLargeError):
            return (
                f"the dead-letter topic {self._settings.dead_letters} refuses a record of {len(record.value or b'')} "
                f"bytes: raise its max.message.bytes and KAFKA_MAX_REQUEST_BYTES"
            )
        except InvalidTimestampError:
            return (
                f"the dead-letter topic {self._settings.dead_letters} refuses records with this machine's time: "
                f"set the clock right, or the topic's message.timestamp.type to LogAppendTime"
            )
        except CLIENT_ERRORS as error:
            return str(mapped(error))
        return ""

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                await self._prepare(self._settings)
                producer = AIOKafkaProducer(
                    **client_arguments(self._settings),
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=self._settings.max_request_bytes,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def stop(self) -> None:
        """Close the connection; the next record opens it again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping: Coroutine[Any, Any, None] = producer.stop()
            try:
                async with asyncio.timeout(self._settings.request_timeout):
                    await stopping
            except CLIENT_ERRORS:
                return


async def _written(producer: Any, topic: str, record: OutRecord) -> Any:
    """What to wait for. The client wants a key or a value, but not in its batches: other producers send neither."""
    headers = list(record.headers)
    if record.key is not None or record.value is not None:
        return await producer.send(topic, record.value, key=record.key, headers=headers)
    batch = producer.create_batch()
    batch.append(key=None, value=None, timestamp=None, headers=headers)
    return await producer.send_batch(batch, topic, partition=min(await producer.partitions_for(topic)))
