"""From the bytes that a broker sends for a partition to records; what cannot be decoded is isolated to its offsets.

A batch whose checksum is right is passed, whatever it holds: records that cannot be decoded become `UndecodedRecord`s.
A batch whose checksum is wrong may be damaged in any byte, its offsets included: the partition cannot go on there.
"""

from __future__ import annotations

import hashlib
import struct
from binascii import crc32
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiokafka.record.default_records import DefaultRecordBatch

from activity_indexer.adapters.kafka.records.compression import CODECS, CannotUnpack, TooLarge, unpacked
from activity_indexer.errors import DecodeError
from activity_indexer.ports import Content, Record, Truncation, UndecodedRecord, header_name
from activity_indexer.positions import Partition

KEPT_BYTES: Final = 64 * 1024
"""Bytes of a value, key or headers that are kept of a record that is too large."""

BATCH_RATIO: Final = 4
"""A batch may take this many times the size of the largest record, decompressed: it usually holds many."""

OVERHEAD: Final = 12
"""Bytes of a batch's offset and length, which the length does not count."""

LEAST_LENGTH: Final = 14
"""The length of the smallest batch of any format."""

MAGIC: Final = 16
"""Where the number of the format is in a batch."""

HEADER_BYTES: Final = 61
"""Bytes of a batch of format 2 before its records."""

ATTRIBUTES: Final = 22
"""Where the lower byte of the attributes is in a batch of format 2."""

OLD_ATTRIBUTES: Final = 17
"""Where the attributes stand in a message of format 0 or 1."""

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
MARKED: Final = TRANSACTIONAL | CONTROL
COUNT: Final = 57
"""Where the number of records is in a batch of format 2."""

VARINT_BYTES: Final = 10


_length: Final = struct.Struct(">i").unpack_from


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of a partition; `timestamp` is in milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class CorruptBatch(Exception):
    """Where the batch ends, or what it holds, cannot be known."""


class _Malformed(Exception):
    """A record's bytes cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a partition is read.

    `max_record_bytes` is the size of the largest record; `aborted` are the transactions that were aborted, as pairs of
    producer and first offset. Batches that do not hold the bytes `holding` are passed over.
    """

    place: Partition
    max_record_bytes: int
    committed_only: bool = False
    aborted: Sequence[tuple[int, int]] = ()
    holding: bytes = b""


class FetchedPartition:
    """Iterates over the records in what a broker sent for one partition.

    `next_fetch_offset` is where the next fetch begins. `corrupt` is called when it is known whether the partition can
    go on from there: with this offset, and the reason or None.
    """

    def __init__(
        self, reading: Reading, content: bytes, offset: int, corrupt: Callable[[int, str | None], None]
    ) -> None:
        self._reading = reading
        self._content = memoryview(content)
        self._corrupt = corrupt
        self._open = sorted(reading.aborted, key=lambda transaction: transaction[1])
        self._aborted: set[int] = set()
        self.next_fetch_offset = offset
        self._records = self._read()

    def __iter__(self) -> Iterator[Record]:
        """The records that were not handed out yet."""
        return self._records

    def __next__(self) -> Record:
        return next(self._records)

    def _read(self) -> Iterator[Record]:
        start = self.next_fetch_offset
        readable = False
        try:
            for content in _batches(self._content):
                batch = _checked(content, self._reading)
                if not readable:  # once: where a later batch is damaged, the records before it are handed out first
                    readable = True
                    self._corrupt(start, None)
                passed_over = content[ATTRIBUTES] & MARKED and self._is_passed_over(content)
                if self._reading.holding and not passed_over:
                    passed_over = batch.lacks(self._reading.holding)
                if not passed_over and not (yield from self._as_decoded(batch)):
                    for record in batch.records(self.next_fetch_offset):
                        self.next_fetch_offset = record.offset + 1
                        yield record
                if self.next_fetch_offset <= batch.last:
                    self.next_fetch_offset = batch.last + 1
        except CorruptBatch as error:
            self._corrupt(self.next_fetch_offset, str(error))
        else:
            if self.next_fetch_offset == start:
                self._corrupt(start, "the broker sent nothing that lies at this offset or after it")

    def _as_decoded(self, batch: _Batch | _OldBatch) -> Generator[Record, None, bool]:
        """The records as the client decodes them, up to the first that is not as it should be; whether that is all."""
        decoded = batch.decoded()
        if decoded is None:
            return False
        topic, partition = self._reading.place
        last, previous, position = batch.last, batch.base - 1, self.next_fetch_offset
        try:
            for record in decoded:
                offset = record.offset
                if not previous < offset <= last:
                    return False
                previous = offset
                if offset >= position:
                    self.next_fetch_offset = offset + 1
                    yield FetchedRecord(
                        topic, partition, offset, record.timestamp, record.key, record.value, tuple(record.headers)
                    )
        except Exception:  # noqa: BLE001 - whatever the client stumbles over, the careful way finds and names it
            return False
        return True

    def _is_passed_over(self, batch: memoryview) -> bool:
        """Whether a batch holds a transaction's marker, or belongs to one that was aborted."""
        if batch[MAGIC] < 2:
            return False
        parsed = DefaultRecordBatch(batch)
        if self._reading.committed_only:
            while self._open and self._open[0][1] <= parsed.base_offset:
                self._aborted.add(self._open.pop(0)[0])
            if parsed.is_control_batch and _is_abort_marker(parsed):
                self._aborted.discard(parsed.producer_id)
            if parsed.is_transactional and parsed.producer_id in self._aborted:
                return True
        return bool(parsed.is_control_batch)


def _batches(content: memoryview) -> Iterator[memoryview]:
    """The batches, without one at the end that is not complete. Raises CorruptBatch."""
    at = 0
    while len(content) - at >= OVERHEAD:
        (length,) = _length(content, at + 8)
        if length < LEAST_LENGTH:
            raise CorruptBatch(f"expected a batch of {LEAST_LENGTH} bytes or more, got the length {length}")
        end = at + OVERHEAD + length
        if end > len(content):
            break
        yield content[at:end]
        at = end
    if at == 0:
        raise CorruptBatch("the broker sent a batch that is not complete")


def _checked(batch: memoryview, reading: Reading) -> _Batch | _OldBatch:
    """The batch. Raises CorruptBatch when its checksum is wrong."""
    if batch[MAGIC] < 2:
        if struct.unpack_from(">I", batch, OVERHEAD)[0] != crc32(batch[MAGIC:]):
            raise CorruptBatch("the checksum of the batch is wrong")
        return _OldBatch(batch, reading)
    if len(batch) < HEADER_BYTES:
        raise CorruptBatch(f"expected a batch of {HEADER_BYTES} bytes or more, got {len(batch)}")
    parsed = DefaultRecordBatch(batch)
    if not parsed.validate_crc():
        raise CorruptBatch("the checksum of the batch is wrong")
    return _Batch(batch, parsed, reading)


def _is_abort_marker(batch: Any) -> bool:
    try:
        key = next(iter(batch)).key
    except Exception:  # noqa: BLE001 - only brokers write markers; one that cannot be read ends nothing
        return False
    return bool(key is not None and key[2:4] == b"\0\0")


class _Batch:
    """A batch of format 2, with the right checksum; `last` is its last offset."""

    def __init__(self, batch: memoryview, parsed: Any, reading: Reading) -> None:
        self._batch = batch
        self._parsed = parsed
        self._reading = reading
        self.base: int = parsed.base_offset
        self.last: int = parsed.next_offset - 1
        self._unpacked: memoryview | DecodeError | None = None

    def decoded(self) -> Any:
        """What iterates over the client's own records; None when they have to be looked at one by one."""
        batch = self._batch
        if batch[MAGIC] != 2:
            return None
        content = self._content() if batch[ATTRIBUTES] & CODEC_MASK else batch
        if isinstance(content, DecodeError) or len(content) - HEADER_BYTES > self._reading.max_record_bytes:
            return None
        return self._parsed if content is batch else DefaultRecordBatch(content)

    def lacks(self, text: bytes) -> bool:
        """Whether these bytes stand nowhere in its records; when in doubt, they do."""
        if self._batch[MAGIC] != 2:
            return False
        content = self._content()
        return not isinstance(content, DecodeError) and text not in bytes(content)

    def records(self, position: int) -> Iterator[Record]:
        """The records from an offset on, one by one, or one for all that cannot be decoded."""
        if self._batch[MAGIC] != 2:
            error = DecodeError("unknown_format", f"expected a batch of the formats 0 to 2, got {self._batch[MAGIC]}")
            return iter([self._whole(position, error)])
        content = self._content()
        if isinstance(content, DecodeError):
            return iter([self._whole(position, content)])
        return self._careful(content, position)

    def _content(self) -> memoryview | DecodeError:
        """The batch, decompressed, or why that cannot be done."""
        if self._unpacked is None:
            codec = self._batch[ATTRIBUTES] & CODEC_MASK
            self._unpacked = self._decompressed(codec) if codec else self._batch
        return self._unpacked

    def _decompressed(self, codec: int) -> memoryview | DecodeError:
        limit = BATCH_RATIO * self._reading.max_record_bytes
        header = bytearray(self._batch[:HEADER_BYTES])
        header[ATTRIBUTES] &= ~CODEC_MASK
        try:
            return unpacked(codec, self._batch[HEADER_BYTES:], limit, bytes(header))
        except TooLarge:
            return DecodeError(
                "batch_too_large",
                f"the batch ({CODECS[codec]}) takes more than {limit} bytes when decompressed, "
                f"{BATCH_RATIO} times KAFKA_MAX_RECORD_BYTES",
            )
        except CannotUnpack as problem:
            return DecodeError("cannot_decompress", f"the batch cannot be decompressed: {problem}")

    def _careful(self, content: memoryview, position: int) -> Iterator[Record]:
        """The records, one by one: those that cannot be decoded, and what lies behind the last that can be found."""
        (count,) = struct.unpack_from(">i", content, COUNT)
        at, previous = HEADER_BYTES, self.base - 1
        for _ in range(count):
            try:
                length, start = _varint(content, at)
            except _Malformed:
                break
            if previous >= self.last or not 0 <= length <= len(content) - start:
                break
            at = start + length
            record = self._one(content[start:at], previous)
            previous = record.offset
            if previous >= position:
                yield record
        else:
            if at == len(content):
                return
        first = max(previous + 1, position)
        if first <= self.last:
            reason = f"the batch cannot be split into records from the offset {first} to its end, {self.last}"
            error = DecodeError("undecodable_records", reason)
            yield self._undecoded(first, self.last, error, bytes(content[at:]), Content.RECORDS)

    def _one(self, raw: memoryview, previous: int) -> Record:
        """The record in these bytes, behind the one with the offset `previous`."""
        offset = previous + 1
        try:
            delta, at = _varint(raw, 1)
            offset_delta, at = _varint(raw, at)
            offset = self._offset(offset_delta, previous)
            key, value, headers = _fields(raw, at)
        except _Malformed as error:
            reason = DecodeError("undecodable_record", f"the record cannot be decoded: {error}")
            return self._undecoded(offset, offset, reason, bytes(raw), Content.RECORD)
        timestamp = (
            self._parsed.max_timestamp
            if self._batch[ATTRIBUTES] & LOG_APPEND_TIME
            else self._parsed.first_timestamp + delta
        )
        topic, partition = self._reading.place
        if len(raw) > self._reading.max_record_bytes:
            return _too_large(FetchedRecord(topic, partition, offset, timestamp, key, value, headers), len(raw))
        return FetchedRecord(topic, partition, offset, timestamp, key, value, headers)

    def _offset(self, delta: int, previous: int) -> int:
        if not previous < self.base + delta <= self.last:
            raise _Malformed(f"expected an offset of {previous + 1} to {self.last}, got {self.base + delta}")
        return self.base + delta

    def _whole(self, position: int, error: DecodeError) -> Record:
        first = max(position, self.base)
        last = max(first, self.last)
        reason = DecodeError(error.code, f"{error.message}; it holds the offsets {first} to {last}")
        return self._undecoded(first, last, reason, bytes(self._batch), Content.BATCH)

    def _undecoded(self, first: int, last: int, error: DecodeError, raw: bytes, content: Content) -> Record:
        topic, partition = self._reading.place
        value, truncation = kept(raw) if len(raw) > self._reading.max_record_bytes else (raw, None)
        return UndecodedRecord(
            topic, partition, last, self._parsed.max_timestamp, None, value, (), error, first, content, truncation
        )


def _too_large(record: FetchedRecord, size: int) -> Record:
    """The beginning of a record; a key or headers that are large themselves are not kept."""
    value, truncation = (None, None) if record.value is None else kept(record.value)
    key = record.key if len(record.key or b"") <= KEPT_BYTES else None
    small = sum(len(name) + len(content or b"") for name, content in record.headers) <= KEPT_BYTES
    error = DecodeError("record_too_large", f"the record takes {size} bytes, more than KAFKA_MAX_RECORD_BYTES")
    return UndecodedRecord(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        key,
        value,
        record.headers if small else (),
        error,
        record.offset,
        Content.VALUE,
        truncation,
    )


def kept(value: bytes) -> tuple[bytes, Truncation]:
    """The beginning of a value that is too large, and what identifies all of it."""
    return value[:KEPT_BYTES], Truncation(len(value), hashlib.sha256(value).hexdigest())


class _OldBatch:
    """A message of format 0 or 1, with the right checksum: one record, or a compressed set up to the offset `last`."""

    def __init__(self, batch: memoryview, reading: Reading) -> None:
        self._batch = batch
        self._reading = reading
        (self.last,) = struct.unpack_from(">q", batch)
        self.base: int = self.last
        self._timestamp = _old_timestamp(batch)

    def decoded(self) -> None:
        """Always None: the records are looked at one by one."""

    def lacks(self, text: bytes) -> bool:  # noqa: ARG002 - as the other format has it
        """Always False: the records are looked at one by one."""
        return False

    def records(self, position: int) -> Iterator[Record]:
        """The records from an offset on."""
        try:
            yield from [record for record in self._all() if record.offset >= position]
        except (CannotUnpack, _Malformed, struct.error) as error:
            reason = "it is too large" if isinstance(error, TooLarge) else str(error)
            message = f"the message of format {self._batch[MAGIC]} cannot be decoded: {reason}"
            raw, truncation = bytes(self._batch), None
            if len(raw) > self._reading.max_record_bytes:
                raw, truncation = kept(raw)
            topic, partition = self._reading.place
            yield UndecodedRecord(
                topic,
                partition,
                self.last,
                self._timestamp,
                None,
                raw,
                (),
                DecodeError("undecodable_record", message),
                position,
                Content.BATCH,
                truncation,
            )

    def _all(self) -> list[Record]:
        codec = self._batch[OLD_ATTRIBUTES] & CODEC_MASK
        key, value = _old_fields(self._batch)
        if not codec:
            return [self._record(self.last, self._timestamp, key, value)]
        limit = BATCH_RATIO * self._reading.max_record_bytes
        content = unpacked(codec, memoryview(value or b""), limit, b"")
        inner = list(_old_messages(content))
        offsets = [int(struct.unpack_from(">q", message)[0]) for message in inner]
        base = self.last - offsets[-1] if offsets and self._batch[MAGIC] else 0  # format 1 counts from the first
        append_time = self._batch[OLD_ATTRIBUTES] & LOG_APPEND_TIME
        return [
            self._record(
                base + offset, self._timestamp if append_time else _old_timestamp(message), *_old_fields(message)
            )
            for offset, message in zip(offsets, inner, strict=True)
        ]

    def _record(self, offset: int, timestamp: int, key: bytes | None, value: bytes | None) -> Record:
        if offset > self.last:
            raise _Malformed(f"the offset {offset} lies behind it")
        topic, partition = self._reading.place
        record = FetchedRecord(topic, partition, offset, timestamp, key, value, ())
        size = len(key or b"") + len(value or b"")
        return _too_large(record, size) if size > self._reading.max_record_bytes else record


def _old_messages(content: memoryview) -> Iterator[memoryview]:
    try:
        yield from _batches(content)
    except CorruptBatch as error:
        raise _Malformed(str(error)) from None


def _old_timestamp(message: memoryview) -> int:
    """Milliseconds since the epoch; -1 in format 0, which has none."""
    return int(struct.unpack_from(">q", message, OLD_ATTRIBUTES + 1)[0]) if message[MAGIC] else -1


def _old_fields(message: memoryview) -> tuple[bytes | None, bytes | None]:
    at = OLD_ATTRIBUTES + 1 + (8 if message[MAGIC] else 0)
    found: list[bytes | None] = []
    for _ in range(2):
        (length,) = struct.unpack_from(">i", message, at)
        at += 4
        if length > len(message) - at:
            raise _Malformed(f"expected {length} bytes at byte {at}, got {len(message) - at}")
        found.append(None if length < 0 else bytes(message[at : at + length]))
        at += max(0, length)
    return found[0], found[1]


def _fields(raw: memoryview, at: int) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    key, at = _bytes(raw, at)
    value, at = _bytes(raw, at)
    count, at = _varint(raw, at)
    if not 0 <= count <= len(raw):
        raise _Malformed(f"expected the number of its headers, got {count}")
    headers: list[Any] = []
    for _ in range(count):
        name, at = _bytes(raw, at)
        if name is None:
            raise _Malformed("a header has no name")
        content, at = _bytes(raw, at)
        headers.append((header_name(name), content))
    if at != len(raw):
        raise _Malformed(f"expected its end at byte {at}, got {len(raw)} bytes")
    return key, value, tuple(headers)


def _bytes(raw: memoryview, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(raw, at)
    if length < 0:
        return None, at
    if length > len(raw) - at:
        raise _Malformed(f"expected {length} bytes at byte {at}, got {len(raw) - at}")
    return bytes(raw[at : at + length]), at + length


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(raw[at : at + VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + place + 1
    raise _Malformed(f"expected a number at byte {at}")
