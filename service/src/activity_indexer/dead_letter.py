"""The dead-letter record: the original bytes, and headers that say where they came from and why they are here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final

from msgspec import Struct

from activity_common.dead_letter_headers import (
    ATTEMPTS,
    ERROR,
    FIRST_FAILURE,
    LAST_FAILURE,
    MESSAGE,
    MESSAGE_ID,
    NO_KEY,
    OFFSET,
    PARTITION,
    PREFIX,
    REPLAY_FIRST_FAILURE,
    STAGE,
    TIMESTAMP,
    TOPIC,
    TRACEPARENT,
)
from activity_indexer.errors import EventError
from activity_indexer.ports import OutRecord, Record, Truncation, UndecodedRecord
from activity_indexer.timestamps import format_timestamp, parse_timestamp

MAX_MESSAGE: Final = 2000
"""Characters of an error message that are kept."""

KEPT_VALUE_BYTES: Final = 64 * 1024
"""Bytes of a value that are kept when the dead-letter topic refuses the size of all of it."""

SMALL_SIZES: Final = (4096, 256, 0)
"""Bytes of a value that are kept when it refuses even that."""

MAX_KEY_BYTES: Final = 512
"""Bytes of a key that such a dead letter has at most."""

MAX_SMALL_HEADER: Final = 256
"""Bytes of a header that such a dead letter has at most."""

LATEST: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: producers may stamp their records with any number."""


class Failure(Struct, frozen=True, gc=False):
    """Why an event cannot be indexed; times in seconds since the epoch."""

    error: EventError
    attempts: int
    first_failure: float
    last_failure: float
    message_id: str | None = None


def dead_letter(record: Record, failure: Failure, traceparent: bytes | None = None) -> OutRecord:
    """The record for the dead-letter topic.

    The original headers are kept, the trace context and what replays left among them; those of an earlier stay here
    give way to the new ones. What a replay sent failed first when it failed before its first replay.
    `traceparent` is that of the span that sends the dead letter: a reader can link to that span.

    Half of all events may come this way: each header is written once, as the bytes that it is stored as, and those that
    many dead letters share are kept.
    """
    error, timestamp = failure.error, record.timestamp
    last = _time(int(failure.last_failure * 1e6))
    first = _time(int(failure.first_failure * 1e6)) if failure.first_failure != failure.last_failure else last
    headers: list[tuple[str, bytes]] = []
    if record.headers:
        headers = [header for header in record.headers if not header[0].startswith(PREFIX)]
        first = _first_failure(record) or first
    headers += (
        *_place(record.topic, record.partition),
        (OFFSET, b"%d" % record.offset),
        (TIMESTAMP, _time((timestamp if 0 <= timestamp <= LATEST else min(max(0, timestamp), LATEST)) * 1000)),
        *_kind(error.stage, error.code),
        (MESSAGE, error.message[:MAX_MESSAGE].encode(errors="replace")),
        *_tries(failure.attempts, first, last),
    )
    if isinstance(record, UndecodedRecord):
        headers += ((PREFIX + name, text.encode(errors="replace")) for name, text in _undecoded(record).items())
    if failure.message_id:
        headers.append((MESSAGE_ID, failure.message_id.encode(errors="replace")))
    if traceparent:
        headers.append((TRACEPARENT, traceparent))
    return OutRecord(record.key, record.value, headers)


@lru_cache(maxsize=1024)
def _place(topic: str, partition: int) -> tuple[tuple[str, bytes], ...]:
    return (TOPIC, topic.encode(errors="replace")), (PARTITION, b"%d" % partition)


@lru_cache(maxsize=256)
def _kind(stage: str, code: str) -> tuple[tuple[str, bytes], ...]:
    return (STAGE, stage.encode(errors="replace")), (ERROR, code.encode(errors="replace"))


@lru_cache(maxsize=256)
def _tries(attempts: int, first: bytes, last: bytes) -> tuple[tuple[str, bytes], ...]:
    """The events of a batch fail at the same time."""
    return (ATTEMPTS, b"%d" % attempts), (FIRST_FAILURE, first), (LAST_FAILURE, last)


@lru_cache(maxsize=1024)
def _time(microseconds: int) -> bytes:
    """The events of a batch have few different times: those of their records are in milliseconds."""
    return format_timestamp(microseconds).encode()


def _undecoded(record: UndecodedRecord) -> dict[str, str]:
    """What the value holds instead of an event, and of how many offsets."""
    found = {"content": record.content.value, **({} if record.truncation is None else truncated(record.truncation))}
    if record.first_offset != record.offset:
        found["first-offset"] = str(record.first_offset)
    return found


def with_key(record: OutRecord) -> OutRecord:
    """A dead letter of an event without a key, with its place as the key: a compacted topic takes none without."""
    headers = dict(record.headers)
    place = b":".join(headers.get(PREFIX + name) or b"" for name in ("topic", "partition", "offset"))
    return OutRecord(place, record.value, [*record.headers, (NO_KEY, b"true")])


def smaller_forms(record: OutRecord) -> Iterator[OutRecord]:
    """A dead letter for a topic that refuses its size: with less and less of its value, at last without its headers.

    The first has the beginning of the value. Headers give its size and SHA-256, so that the original can be found.
    """
    own = [(name, value) for name, value in record.headers if name.startswith(PREFIX)]
    others = [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]
    value = record.value or b""
    marks: list[tuple[str, bytes]] = []
    if PREFIX + "truncated" not in dict(own):
        found = Truncation(len(value), hashlib.sha256(value).hexdigest())
        marks = [(PREFIX + name, text.encode()) for name, text in truncated(found).items()]

    def form(key: bytes | None, size: int, headers: Sequence[tuple[str, bytes]]) -> OutRecord:
        if len(value) <= size:
            return OutRecord(key, record.value, headers)
        return OutRecord(key, value[:size], [*headers, *marks])

    yield form(record.key, KEPT_VALUE_BYTES, [*others, *own])
    if others:
        own.append((PREFIX + "headers-dropped", str(len(others)).encode()))
        yield form(record.key, KEPT_VALUE_BYTES, own)
    key = record.key
    if key is not None and len(key) > MAX_KEY_BYTES:
        own.append((PREFIX + "key-size", str(len(key)).encode()))
        key = None
    own = [(name, content[:MAX_SMALL_HEADER]) for name, content in own]
    yield from (form(key, size, own) for size in SMALL_SIZES)


def truncated(found: Truncation) -> dict[str, str]:
    """Headers (without the prefix) of a dead letter that holds only the beginning of its value."""
    return {"truncated": "true", "size": str(found.size), "sha256": found.sha256}


def _first_failure(record: Record) -> bytes | None:
    for name, value in record.headers:
        if name == REPLAY_FIRST_FAILURE and value:
            with suppress(ValueError, OverflowError):  # anybody may write headers
                return _time(parse_timestamp(value.decode()))
    return None
