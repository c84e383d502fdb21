"""The consumer group's member and the dead-letter topic's producer, by aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
)

from activity_indexer.adapters.kafka_client import (
    CLIENT_ERRORS,
    client_arguments,
    mapped,
    prepare_topics,
    within,
)
from activity_indexer.adapters.kafka_consumers import check_instance, join_group
from activity_indexer.adapters.kafka_member import GroupMember
from activity_indexer.adapters.kafka_positions import KnownTopic, PositionReports, Positions, Reader
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.ports import OutRecord, Partition, Record
from activity_indexer.positions import Commit, Ends
from activity_indexer.settings import KafkaSettings


class GroupSource:
    """A member of the consumer group, as consumer.RecordSource wants it."""

    def __init__(self, settings: KafkaSettings, reports: PositionReports) -> None:
        self._settings = settings
        self._reports = reports
        self._log = structlog.get_logger("activity_indexer.kafka")
        self._known = KnownTopic()
        self._consumer: Any = None
        self._positions: Any = None
        self._tried = False

    async def start(self, member: Reader) -> None:
        """Join the group. Raises Unavailable or Refused.

        A static member that is started takes its predecessor's place at once. One that tries again asks before.
        """

        def positions(client: GroupMember) -> Positions:
            kafka = self._settings
            self._positions = Positions(client, kafka, member, self._reports, self._known, kafka.auto_offset_reset)
            return self._positions  # type: ignore[no-any-return]

        if self._tried:
            await check_instance(self._settings, self._settings.consumer_group)
        self._tried = True
        self._consumer = await join_group(self._settings, self._settings.consumer_group, positions)

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            try:
                await self._positions.close()
                await self._consumer.stop()
            except CLIENT_ERRORS as error:
                self._log.warning("kafka.stop_failed", error=str(mapped(error)))

    async def poll(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:  # noqa: ASYNC109
        """Records of the current assignment; none when the client failed, which is reported."""
        try:
            polled = await self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=max_records)
        except OffsetOutOfRangeError as error:
            self._positions.out_of_range(Partition(*place) for place in error.args[0])
            return {}
        except (KafkaError, OSError) as error:
            self._reports.kafka(str(mapped(error)))
            await asyncio.sleep(1.0)
            return {}
        if polled:
            self._reports.kafka(None)
        return {Partition(*partition): records for partition, records in polled.items()}

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets, within the request timeout."""
        topic_id = self._positions.topic_id
        commits = {
            TopicPartition(*partition): (offset, Commit(offset, topic_id).metadata)
            for partition, offset in offsets.items()
        }
        await within(self._settings.request_timeout, self._consumer.commit(commits))

    async def position(self, partition: Partition) -> int | None:
        """The next offset that poll hands out."""
        return self._consumer.position_now(partition) if self._positions.decided(partition) else None

    async def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, Ends]:
        """Where the partitions end now."""
        try:
            ends: Mapping[Partition, Ends] = await within(
                self._settings.request_timeout, self._consumer.ends(partitions)
            )
        except ActivityIndexerError as error:
            self._reports.kafka(str(error))
            raise
        self._reports.kafka(None)
        self._positions.note(ends)
        return ends


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
