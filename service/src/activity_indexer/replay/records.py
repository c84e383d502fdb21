"""The records that a replay writes: what goes back to its topic, and what is parked."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from activity_common.dead_letter_headers import (
    FIRST_FAILURE,
    OFFSET,
    PARTITION,
    PREFIX,
    REPLAY_COUNT,
    REPLAY_FAILED_TRACEPARENT,
    REPLAY_FIRST_FAILURE,
    REPLAY_FROM,
    REPLAY_HISTORY,
    REPLAY_ID,
    REPLAY_OFFSET,
    REPLAY_ORIGINAL,
    REPLAY_PARKED_FROM,
    REPLAY_PARTITION,
    REPLAY_TIMESTAMP,
    REPLAY_TOPIC,
    REPLAY_TRACEPARENT,
    TIMESTAMP,
    TOPIC,
    TRACEPARENT,
)
from activity_indexer.dead_letters.earlier import history
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.ports import OutRecord
from activity_indexer.timestamps import format_timestamp

MAX_HISTORY: Final = 10
"""Earlier stays that are kept; the oldest give way."""

MAX_ORIGINAL: Final = 64 * 1024
"""Bytes that an original value may take (compressed) to be kept beside its correction."""

_RENEWED: Final = frozenset(
    {
        REPLAY_ID,
        REPLAY_COUNT,
        REPLAY_FROM,
        REPLAY_HISTORY,
        REPLAY_TOPIC,
        REPLAY_PARTITION,
        REPLAY_OFFSET,
        REPLAY_TIMESTAMP,
        REPLAY_FIRST_FAILURE,
        REPLAY_ORIGINAL,
        REPLAY_PARKED_FROM,
        REPLAY_FAILED_TRACEPARENT,
    }
)

NOTED_BY_REPLAYS: Final = _RENEWED | {REPLAY_TRACEPARENT}
"""All headers that a replay adds to an event."""

_PLACE: Final = {REPLAY_TOPIC: TOPIC, REPLAY_PARTITION: PARTITION, REPLAY_OFFSET: OFFSET, REPLAY_TIMESTAMP: TIMESTAMP}
"""What is noted of an event's first place, from which header of its first dead letter."""


class Addressed(NamedTuple):
    """A record and where it goes; without a partition the key decides."""

    topic: str
    partition: int | None
    record: OutRecord

    @property
    def size(self) -> int:
        """Bytes of value and key, about."""
        return len(self.record.value or b"") + len(self.record.key or b"")


def lies_at(letter: StoredDeadLetter) -> str:
    """Where and when a dead letter was written: unique, though a topic may be deleted and created again."""
    return f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.timestamp}"


def sent_again(letter: StoredDeadLetter, replay_id: str, topic: str, value: bytes | None) -> Addressed:
    """The record that goes back: original key, original headers, and those that describe its replays.

    It goes to the partition that it came from, if it goes to that topic: producers have partitioners of their own.
    The trace context stays as it came.
    """
    place = lies_at(letter)
    headers: list[Any] = [
        header for header in letter.headers if header[0] not in _RENEWED and not header[0].startswith(PREFIX)
    ]
    headers += (
        (REPLAY_ID, replay_id.encode()),
        (REPLAY_COUNT, b"%d" % (letter.replay_count + 1)),
        (REPLAY_FROM, place.encode()),
    )
    # replays once noted no timestamp
    noted = letter.raw(REPLAY_TOPIC) and letter.raw(REPLAY_PARTITION) and letter.raw(REPLAY_OFFSET)
    for name, own in _PLACE.items():
        if reported := letter.raw(name) if noted else _bytes(letter, own):
            headers.append((name, reported))
    if first := _bytes(letter, REPLAY_FIRST_FAILURE) or _bytes(letter, FIRST_FAILURE):
        headers.append((REPLAY_FIRST_FAILURE, first))
    headers.append((REPLAY_HISTORY, _history(letter, place, replay_id, is_corrected=value != letter.value)))
    if original := _original(letter, value):
        headers.append((REPLAY_ORIGINAL, original))
    if failed := _bytes(letter, TRACEPARENT):  # so that its next life can be linked to the span
        headers.append((REPLAY_FAILED_TRACEPARENT, failed))
    partition = letter.original_partition if letter.original_topic == topic else None
    return Addressed(topic, partition, OutRecord(letter.original_key, value, headers))


def parked(letter: StoredDeadLetter, topic: str) -> Addressed:
    """The dead letter as it is stored, with a header that says where."""
    kept: list[Any] = [header for header in letter.headers if header[0] != REPLAY_PARKED_FROM]
    reported = (REPLAY_PARKED_FROM, lies_at(letter).encode())
    return Addressed(topic, None, OutRecord(letter.key, letter.value, [*kept, reported]))


def _bytes(letter: StoredDeadLetter, name: str) -> bytes | None:
    """The text of a header, whatever its bytes are; None when it has none."""
    value = letter.raw(name)
    return value if value is None or value.isascii() else value.decode(errors="replace").encode()


_time: Final = lru_cache(maxsize=4096)(format_timestamp)
"""Dead letters that are read one after the other failed at few different times."""


def _history(letter: StoredDeadLetter, place: str, replay_id: str, *, is_corrected: bool) -> bytes:
    stay: dict[str, Any] = {
        "from": place,
        "stage": letter.stage,
        "error": letter.error,
        "failed": _time(letter.failed_at),
        "replay": replay_id,
    }
    if is_corrected:
        stay["corrected"] = True
    return msgspec.json.encode([*history(letter), stay][-MAX_HISTORY:])


def _original(letter: StoredDeadLetter, value: bytes | None) -> bytes | None:
    """The value before the first correction, packed, if there is one and it is small enough."""
    if kept := letter.raw(REPLAY_ORIGINAL):
        return kept
    if value == letter.value or letter.value is None:
        return None
    packed = zlib.compress(letter.value)
    return packed if len(packed) <= MAX_ORIGINAL else None
