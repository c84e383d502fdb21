"""Reads back from Kafka: the events that were sent, and the dead letters they became."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from activity_common.dead_letter_headers import OFFSET, PARTITION, PREFIX
from activity_loadgen.expected import ExpectedState, Position, spans
from activity_loadgen.kafka import KafkaConnection, admin_client, partitions_of
from activity_loadgen.ledger import digest
from activity_loadgen.records import AnyHeadersConsumer

FETCH_MS: Final = 200
FETCH_RECORDS: Final = 5_000
# Dead letters are written after their events, but by another machine's clock.
CLOCK_SLACK_MS: Final = 600_000
UPDATE_SECONDS: Final = 60.0
MAX_DETAIL: Final = 400


class ReadTimeoutError(Exception):
    """Kafka did not deliver what it holds in the time given."""


class TopicMismatchError(Exception):
    """A position of the topic holds another value than the ledger says: it is another topic, or was made again."""


@contextlib.asynccontextmanager
async def _consumer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AnyHeadersConsumer(
        **connection.client_arguments(), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def read_values(
    connection: KafkaConnection, topic: str, wanted: Mapping[Position, str | None], within: float
) -> dict[Position, bytes]:
    """Values at the wanted positions (→ their SHA-256); positions that Kafka no longer keeps are left out.

    Raises:
        ReadTimeoutError: when they have not been read within that many seconds.
        TopicMismatchError: when a value is not the one that was acknowledged.
    """
    values: dict[Position, bytes] = {}
    if not wanted:
        return values
    async with _consumer(connection) as consumer:
        last = {TopicPartition(topic, partition): ends for partition, ends in spans(wanted).items()}
        consumer.assign(list(last))
        kept = await consumer.beginning_offsets(list(last))
        for partition, (first, _) in last.items():
            consumer.seek(partition, max(first, kept[partition]))
        try:
            async with asyncio.timeout(within):
                while await _unread(consumer, {partition: ends[1] for partition, ends in last.items()}):
                    for record in await _fetch(consumer):
                        _keep(record, wanted, values)
        except TimeoutError:
            message = f"read {len(values)} of {len(wanted)} events of topic {topic} in {within:g} s"
            raise ReadTimeoutError(message) from None
    return values


async def _unread(consumer: AIOKafkaConsumer, last: Mapping[TopicPartition, int]) -> bool:
    unread = [partition for partition, offset in last.items() if await consumer.position(partition) <= offset]
    consumer.pause(*(set(last) - set(unread)))
    return bool(unread)


async def _fetch(consumer: AIOKafkaConsumer) -> list[ConsumerRecord]:
    batches = await consumer.getmany(timeout_ms=FETCH_MS, max_records=FETCH_RECORDS)
    return [record for records in batches.values() for record in records]


def _keep(record: ConsumerRecord, wanted: Mapping[Position, str | None], values: dict[Position, bytes]) -> None:
    position = (record.partition, record.offset)
    if position not in wanted:
        return
    if digest(record.value) != wanted[position]:
        where = f"{record.topic}, partition {record.partition}, offset {record.offset}"
        raise TopicMismatchError(f"{where} holds another value than the ledger says: was the topic made again?")
    values[position] = record.value or b""


class DeadLetters:
    """The dead letters of a ledger's events, found so far: position of the event → what the headers say."""

    def __init__(self, connection: KafkaConnection, topic: str, since_us: int) -> None:
        self.found: dict[Position, str] = {}
        self._connection = connection
        self._topic = topic
        self._since_ms = max(0, since_us // 1000 - CLOCK_SLACK_MS)
        self._stack = contextlib.AsyncExitStack()
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        """Give itself; Kafka is asked at the first `update`."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self._stack.aclose()

    async def update(self, expected: ExpectedState) -> None:
        """Read what the topic has now; without such a topic there is nothing.

        Raises:
            ReadTimeoutError: when that takes longer than `UPDATE_SECONDS`.
        """
        try:
            async with asyncio.timeout(UPDATE_SECONDS):
                self._consumer = self._consumer or await self._open()
                if self._consumer is not None:
                    await self._read(self._consumer, expected)
        except TimeoutError:
            raise ReadTimeoutError(f"could not read topic {self._topic} in {UPDATE_SECONDS:g} s") from None

    async def _read(self, consumer: AIOKafkaConsumer, expected: ExpectedState) -> None:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while await _unread(consumer, {partition: end - 1 for partition, end in ends.items()}):
            for record in await _fetch(consumer):
                self._note(record, expected)
        consumer.resume(*ends)

    async def _open(self) -> AIOKafkaConsumer | None:
        async with admin_client(self._connection) as client:
            number = await partitions_of(client, self._topic)
        if not number:
            return None
        consumer = await self._stack.enter_async_context(_consumer(self._connection))
        partitions = [TopicPartition(self._topic, partition) for partition in range(number)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.offsets_for_times(dict.fromkeys(partitions, self._since_ms))
        for partition in partitions:
            start = starts.get(partition)
            consumer.seek(partition, ends[partition] if start is None else start.offset)
        return consumer

    def _note(self, record: ConsumerRecord, expected: ExpectedState) -> None:
        headers = dict(record.headers)
        position = _original_position(headers)
        if position is not None and (position in expected.invalid or expected.is_valid_event(position)):
            self.found[position] = _describe(headers)


def _original_position(headers: Mapping[str, bytes]) -> Position | None:
    texts = [headers.get(PARTITION, b""), headers.get(OFFSET, b"")]
    if not all(text.isdigit() for text in texts):
        return None
    return int(texts[0]), int(texts[1])


def _describe(headers: Mapping[str, bytes]) -> str:
    said = (f"{name}={value.decode(errors='replace')}" for name, value in headers.items() if name.startswith(PREFIX))
    return ", ".join(said)[:MAX_DETAIL]
