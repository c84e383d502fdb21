"""The dead-letter topic's producer, by aiokafka."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    RecordListTooLargeError,
    RecordTooLargeError,
    UnknownError,
)
from msgspec import Struct

from activity_common.dead_letter_headers import PREFIX
from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.batches import Partitions, batches, handed_over
from activity_indexer.adapters.kafka.client import client_arguments, mapped, prepare_topics, record_limits
from activity_indexer.adapters.kafka.records.internals import size_in_batch
from activity_indexer.dead_letter import smaller_forms, with_key
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.ports import OutRecord
from activity_indexer.reports import DeadLetterTruncated, Emit, unreported
from activity_indexer.settings import KafkaSettings

COMPRESSION: Final = "zstd"
"""Large payloads are mostly text: compressed, many of them fit that would not."""

BATCH_BYTES: Final = 512 * 1024
"""Bytes that go to a partition at once, uncompressed: less where the topic refuses them; a larger record goes alone."""

LEAST_LIMIT: Final = 512
"""A topic that takes less is no place for dead letters: they wait until its max.message.bytes is raised."""

OWN_HEADERS: Final = 16 * 1024
"""Bytes of the headers that a dead letter gets from us, at most."""

LIMIT_AGE: Final = 10.0
"""Seconds for which the topic's limit is believed."""

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)


class _Letter(Struct, gc=False):
    """A record on its way, and why it is not acknowledged; empty when it is."""

    record: OutRecord
    problem: str = ""


class DeadLetterTopic:
    """Writes dead letters; an idempotent producer that is replaced when it failed.

    `prepare` sees to the topic before: it may be gone, and the broker would make it in its own way. What the topic
    refuses for its size, or because it is compacted and there is no key, is written in a form that it takes. That is
    done by a producer that is not idempotent: a refusal breaks the sequence of one that is.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        prepare: Callable[[KafkaSettings], Awaitable[object]] = prepare_topics,
        ask_limits: Callable[[KafkaSettings, Sequence[str]], Awaitable[Mapping[str, int]]] = record_limits,
        emit: Emit = unreported,
    ) -> None:
        self._settings = settings
        self._prepare = prepare
        self._ask_limits = ask_limits
        self._emit = emit
        self._topic_limit = (-math.inf, 0)
        """When the topic's limit was asked (monotonic seconds), and what it was (bytes)."""
        self._log = structlog.get_logger("activity_indexer.kafka")
        self._producers: dict[bool, Any] = {}
        """By whether they are idempotent."""
        self._starting = asyncio.Lock()
        self._refused_size = settings.max_request_bytes + 1
        """The smallest record that was refused (bytes, uncompressed)."""
        self._batch_bytes = BATCH_BYTES
        self._key_needed = False
        self._sequence_broken = False
        self._handing: Counter[Any] = Counter()
        self._handed = asyncio.Event()
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By partition: who holds one is the next to be taken by the client."""

    async def send(self, records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        """Write records; returns those that are not acknowledged, and why.

        They go in whole batches, one partition's in their order: half of all events may come this way, and a future and
        a wait for each would cost more than all the rest.
        """
        try:
            producer = await self._started()
            partitions = await Partitions.of(producer, self._settings.dead_letters)
        except (*CLIENT_ERRORS, ActivityIndexerError) as error:
            await self.stop()
            return records, self._explained(error)
        letters = [_Letter(with_key(each) if self._is_key_missing(each) else each) for each in records]
        alone: list[_Letter] = []
        together: dict[int, list[_Letter]] = defaultdict(list)
        choose, refused = partitions.choose, self._refused_size
        for letter in letters:
            record = letter.record
            if _is_clearly_below(refused, record) or size_in_batch(record) < refused:
                together[choose(record.key)].append(letter)
            else:
                alone.append(letter)
        await asyncio.gather(
            *(self._write_partition(producer, partition, found) for partition, found in together.items()),
            self._write_one_by_one(alone),
        )
        unsent = [record for record, letter in zip(records, letters, strict=True) if letter.problem]
        was_broken, self._sequence_broken = self._sequence_broken, False
        if unsent:
            await self.stop()
        elif was_broken:
            await self._stop(idempotent=True)
        return unsent, next((letter.problem for letter in letters if letter.problem), "")

    async def _write_partition(self, producer: Any, partition: int, letters: Sequence[_Letter]) -> None:
        """Write one partition's letters, batch by batch; what is behind a batch that fails is not written."""
        written, batch_bytes = 0, self._batch_bytes
        for batch, size in batches(producer, [letter.record for letter in letters]):
            try:
                async with self._turns[partition]:  # the client has all that wait for a partition ask again and again
                    sender = await self._started(idempotent=not self._sequence_broken)
                    sending = await self._handed_over(sender, batch, partition)
                await sending
            except (*_TOO_LARGE, OutOfOrderSequenceNumber, UnknownError) as error:  # of one, or of what went before
                self._sequence_broken = True
                if size > 1 and isinstance(error, _TOO_LARGE):
                    self._batch_bytes = max(LEAST_LIMIT, min(self._batch_bytes, batch_bytes // 2))
                await self._write_one_by_one(letters[written : written + size])
            except (*CLIENT_ERRORS, ActivityIndexerError) as error:
                for letter in letters[written:]:
                    letter.problem = self._explained(error)
                return
            written += size

    async def _write_one_by_one(self, letters: Sequence[_Letter]) -> None:
        """Not all at once: of many that wait for a partition, the client gives most up long before their time."""
        for at, letter in enumerate(letters):
            try:
                letter.problem = await self._send_alone(letter.record)
            except UnknownError as error:  # of this one
                letter.problem = self._explained(error)
            except (*CLIENT_ERRORS, ActivityIndexerError) as error:  # each of the others would wait as long
                for left in letters[at:]:
                    left.problem = self._explained(error)
                return

    def _explained(self, error: BaseException) -> str:
        if isinstance(error, InvalidTimestampError):
            return (
                f"the dead-letter topic {self._settings.dead_letters} refuses records with this machine's time: "
                f"set the clock right, or the topic's message.timestamp.type to LogAppendTime"
            )
        return str(error if isinstance(error, ActivityIndexerError) else mapped(error))

    def _is_key_missing(self, record: OutRecord) -> bool:
        return self._key_needed and record.key is None

    async def _send_alone(self, record: OutRecord) -> str:
        """Write a record, or as much of it as the topic takes by its own limit.

        A record that is within the limit is not truncated: the limit was another when it was refused, and it is tried
        again.
        """
        try:
            await self._write_alone(record)
        except _TOO_LARGE:
            limit = await self._limit()
        else:
            return ""
        size = size_in_batch(record)
        if size > limit >= LEAST_LIMIT:
            forms = list(smaller_forms(record))
            form = next((each for each in forms if size_in_batch(each) <= limit), forms[-1])  # compressed, it may fit
            try:
                await self._write_alone(form)
            except _TOO_LARGE:
                size = size_in_batch(form)
            else:
                self._emit(DeadLetterTruncated())
                self._notify_truncated(record, form)
                return ""
        return (
            f"the dead-letter topic {self._settings.dead_letters} refuses a record of {size} bytes: "
            f"raise its max.message.bytes and KAFKA_MAX_REQUEST_BYTES"
        )

    async def _limit(self) -> int:
        """Bytes of a record that the topic takes, and we send. Raises Unavailable or Refused."""
        asked, found = self._topic_limit
        if time.monotonic() - asked > LIMIT_AGE:
            topic = self._settings.dead_letters
            found = (await self._ask_limits(self._settings, [topic])).get(topic, self._settings.max_request_bytes)
            self._topic_limit = time.monotonic(), found
        return min(found, self._settings.max_request_bytes)

    async def _write_alone(self, record: OutRecord) -> None:
        size = size_in_batch(record)
        if size > self._settings.max_request_bytes:
            raise MessageSizeTooLargeError
        topic, producer = self._settings.dead_letters, await self._started(idempotent=False)
        if self._is_key_missing(record):
            record = with_key(record)
        try:
            await self._write_in_its_own(producer, topic, record)
        except _TOO_LARGE:
            self._refused_size = min(self._refused_size, size)
            raise
        except UnknownError:  # a compacted topic refuses records without a key: the client has no error for that
            if record.key is not None:
                raise
            await self._write_in_its_own(producer, topic, with_key(record))
            self._key_needed = True

    async def _write_in_its_own(self, producer: Any, topic: str, record: OutRecord) -> None:
        """Write a record in a batch of its own: no other shares its fate. Raises the client's errors."""
        partition = (await Partitions.of(producer, topic)).choose(record.key)
        for batch, _ in batches(producer, [record]):
            await (await self._handed_over(producer, batch, partition))

    async def _handed_over(self, producer: Any, batch: Any, partition: int) -> Any:
        """What to wait for, once the client has the batch. A producer that is stopped meanwhile would forget it."""
        self._handing[producer] += 1
        try:
            return await handed_over(producer, batch, self._settings.dead_letters, partition)
        finally:
            self._handing[producer] -= 1
            if not self._handing[producer]:
                del self._handing[producer]
            self._handed.set()

    def _notify_truncated(self, record: OutRecord, form: OutRecord) -> None:
        headers = {name.removeprefix("dead-letter-"): value.decode(errors="replace") for name, value in form.headers}
        self._log.warning(
            "dead_letters.truncated",
            **{name: headers.get(name) for name in ("topic", "partition", "offset", "sha256")},
            size=len(record.value or b""),
            kept=len(form.value or b""),
            reason=f"the dead-letter topic {self._settings.dead_letters} refuses the whole: raise its "
            f"max.message.bytes and KAFKA_MAX_REQUEST_BYTES to keep all of such events",
        )

    async def _started(self, *, idempotent: bool = True) -> Any:
        async with self._starting:
            if idempotent not in self._producers:
                await self._prepare(self._settings)
                producer = AIOKafkaProducer(
                    **client_arguments(self._settings),
                    acks="all",
                    enable_idempotence=idempotent,
                    max_request_size=self._settings.max_request_bytes,
                    compression_type=COMPRESSION,
                    max_batch_size=self._batch_bytes,
                )
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producers[idempotent] = producer
            return self._producers[idempotent]

    async def stop(self) -> None:
        """Close the connections; the next record opens them again, and finds out again what the topic refuses."""
        self._refused_size = self._settings.max_request_bytes + 1
        self._topic_limit = (-math.inf, 0)
        self._batch_bytes = BATCH_BYTES
        self._key_needed = False
        for idempotent in (True, False):
            await self._stop(idempotent=idempotent)

    async def _stop(self, *, idempotent: bool) -> None:
        producer = self._producers.pop(idempotent, None)
        if producer is not None:
            try:
                async with asyncio.timeout(self._settings.request_timeout):
                    while self._handing[producer]:
                        self._handed.clear()
                        await self._handed.wait()
                    await producer.stop()
            except CLIENT_ERRORS:
                return


def _is_clearly_below(size: int, record: OutRecord) -> bool:
    """Whether a record is smaller, found without a look at each header; its event's own headers come first."""
    headers = record.headers
    return (
        bool(headers)
        and headers[0][0].startswith(PREFIX)
        and len(record.value or b"") + len(record.key or b"") + OWN_HEADERS < size
    )
