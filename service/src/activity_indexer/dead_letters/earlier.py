"""What an event was before this dead letter: where it was published first, its earlier failures, its first value."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Any, Final

import msgspec

from activity_common.dead_letter_headers import (
    OFFSET,
    PARTITION,
    REPLAY_HISTORY,
    REPLAY_OFFSET,
    REPLAY_ORIGINAL,
    REPLAY_PARTITION,
    REPLAY_TIMESTAMP,
    REPLAY_TOPIC,
    TIMESTAMP,
)
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.event import UNKNOWN_POSITION, Position
from activity_indexer.origin import position_in

NOTED: Final = (REPLAY_TIMESTAMP, REPLAY_PARTITION, REPLAY_OFFSET)
"""Headers of an event that a replay sent."""

FAILED: Final = (TIMESTAMP, PARTITION, OFFSET)
"""Headers of a dead letter."""

MAX_ORIGINAL: Final = 16 * 1024 * 1024
"""Bytes of a value that are unpacked: a header of a few bytes may claim to hold any number."""


def original_position(letter: StoredDeadLetter) -> Position:
    """Where the event of a dead letter, or of one that was sent again, was published for the first time."""
    for names in (NOTED, FAILED):
        timestamp, partition, offset = map(letter.raw, names)
        if timestamp and partition and offset and (found := position_in(timestamp, partition, offset)):
            return found
    return UNKNOWN_POSITION


def first_place(letter: StoredDeadLetter) -> str | None:
    """Where the event was published before its first replay, as `topic partition:offset`; None without a replay."""
    topic, partition, offset = map(letter.header, (REPLAY_TOPIC, REPLAY_PARTITION, REPLAY_OFFSET))
    return f"{topic} {partition}:{offset}" if topic and partition and offset else None


def history(letter: StoredDeadLetter) -> list[dict[str, Any]]:
    """Earlier stays in the dead-letter topic, the oldest first; nothing when it cannot be read."""
    reported = letter.header(REPLAY_HISTORY)
    if not reported:
        return []
    try:
        found = msgspec.json.decode(reported)
    except (ValueError, RecursionError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def original_value(letter: StoredDeadLetter) -> bytes | None:
    """The value before the first correction; None when there was none, or when it is not kept."""
    packed = letter.raw(REPLAY_ORIGINAL)
    if not packed:
        return None
    unpacking = zlib.decompressobj()
    with suppress(zlib.error):
        value = unpacking.decompress(packed, MAX_ORIGINAL)
        return value if unpacking.eof else None
    return None
