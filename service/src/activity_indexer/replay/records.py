"""The records that a replay writes: what goes back to its topic, and what is parked."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from activity_common.dead_letter_headers import (
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
)
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.ports import OutRecord
from activity_indexer.timestamps import format_timestamp

MAX_HISTORY: Final = 10
"""Earlier stays that are told; the oldest give way."""

MAX_ORIGINAL: Final = 64 * 1024
"""Bytes that an original value may take (compressed) to be kept beside its correction."""

_OURS: Final = frozenset(
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


_PLACE: Final = {
    REPLAY_TOPIC: f"{PREFIX}topic",
    REPLAY_PARTITION: f"{PREFIX}partition",
    REPLAY_OFFSET: f"{PREFIX}offset",
    REPLAY_TIMESTAMP: f"{PREFIX}timestamp",
}
"""What is noted of an event's first place, from which header of its first dead letter."""

_FIRST_FAILURE: Final = f"{PREFIX}first-failure"
_FAILED_TRACEPARENT: Final = f"{PREFIX}traceparent"


@dataclass(frozen=True, slots=True)
class Addressed:
    """A record and where it goes; without a partition the key decides."""

    topic: str
    partition: int | None
    record: OutRecord

    @property
    def size(self) -> int:
        """Bytes of value and key, about."""
        return len(self.record.value or b"") + len(self.record.key or b"")


def lies_at(letter: StoredDeadLetter) -> str:
    """Where and when a dead letter was written: no two have this in common, though a topic may be made anew."""
    return f"{letter.topic}:{letter.partition}:{letter.offset}:{letter.timestamp}"


def sent_again(letter: StoredDeadLetter, replay_id: str, topic: str, value: bytes | None) -> Addressed:
    """The record that goes back: original key, original headers, and those that tell of its replays.

    It goes to the partition that it came from, if it goes to that topic: producers have partitioners of their own.
    The trace context stays as it came.
    """
    partition = letter.original_partition if letter.original_topic == topic else None
    headers: list[Any] = [
        header for header in letter.headers if not header[0].startswith(PREFIX) and header[0] not in _OURS
    ]
    headers += (
        (REPLAY_ID, replay_id.encode()),
        (REPLAY_COUNT, b"%d" % (letter.replay_count + 1)),
        (REPLAY_FROM, lies_at(letter).encode()),
        *_first_place(letter),
        (REPLAY_HISTORY, _history(letter, replay_id, is_corrected=value != letter.value)),
        *_original(letter, value).items(),
    )
    if failed := _bytes(letter, _FAILED_TRACEPARENT):  # so that its next life can be linked to the span
        headers.append((REPLAY_FAILED_TRACEPARENT, failed))
    return Addressed(topic, partition, OutRecord(letter.original_key, value, headers))


def parked(letter: StoredDeadLetter, topic: str) -> Addressed:
    """The dead letter as it lies, with a header that says where that is."""
    kept: list[Any] = [header for header in letter.headers if header[0] != REPLAY_PARKED_FROM]
    told = (REPLAY_PARKED_FROM, lies_at(letter).encode())
    return Addressed(topic, None, OutRecord(letter.key, letter.value, [*kept, told]))


def original_value(letter: StoredDeadLetter) -> bytes | None:
    """The value before the first correction; None when there was none, or when it is not kept."""
    for name, value in letter.headers:
        if name == REPLAY_ORIGINAL and value:
            with suppress(zlib.error):
                return zlib.decompress(value)
    return None


def _first_place(letter: StoredDeadLetter) -> Iterable[tuple[str, bytes]]:
    """Where the event came from, and when it was published, when it failed for the first time."""
    first = _bytes(letter, REPLAY_FIRST_FAILURE) or _bytes(letter, _FIRST_FAILURE)
    noted = {name: value for name, value in letter.headers if name in _PLACE and value}
    if not noted.keys() >= {REPLAY_TOPIC, REPLAY_PARTITION, REPLAY_OFFSET}:  # replays once noted no timestamp
        noted = {name: text for name, own in _PLACE.items() if (text := _bytes(letter, own))}
    return [*noted.items(), *([(REPLAY_FIRST_FAILURE, first)] if first else ())]


def _bytes(letter: StoredDeadLetter, name: str) -> bytes | None:
    """The text of a header, whatever its bytes are; None when it has none."""
    value = letter.raw(name)
    return value if value is None or value.isascii() else value.decode(errors="replace").encode()


_time: Final = lru_cache(maxsize=4096)(format_timestamp)
"""Dead letters that are read one after the other failed at few different times."""


def _history(letter: StoredDeadLetter, replay_id: str, *, is_corrected: bool) -> bytes:
    stay = {
        "from": lies_at(letter),
        "stage": letter.stage,
        "error": letter.error,
        "failed": _time(letter.failed_at),
        "replay": replay_id,
        **({"corrected": True} if is_corrected else {}),
    }
    return msgspec.json.encode([*history(letter), stay][-MAX_HISTORY:])


def history(letter: StoredDeadLetter) -> list[dict[str, Any]]:
    """Earlier stays in the dead-letter topic, the oldest first; nothing when it cannot be read."""
    told = letter.header(REPLAY_HISTORY)
    if not told:
        return []
    try:
        found = msgspec.json.decode(told)
    except (ValueError, RecursionError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _original(letter: StoredDeadLetter, value: bytes | None) -> dict[str, bytes]:
    """The value before the first correction, if there is one and it is small enough."""
    for name, kept in letter.headers:
        if name == REPLAY_ORIGINAL and kept:
            return {REPLAY_ORIGINAL: kept}
    if value == letter.value or letter.value is None:
        return {}
    packed = zlib.compress(letter.value)
    return {REPLAY_ORIGINAL: packed} if len(packed) <= MAX_ORIGINAL else {}
