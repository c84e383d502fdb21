"""The dead-letter topic's producer, by aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError, RecordTooLargeError

from activity_indexer.adapters.kafka_client import CLIENT_ERRORS, client_arguments, mapped, prepare_topics
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.ports import OutRecord
from activity_indexer.settings import KafkaSettings


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
