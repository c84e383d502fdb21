"""Where an event was published for the first time: the position that orders it among its ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from activity_common.dead_letter_headers import REPLAY_OFFSET, REPLAY_PARTITION, REPLAY_TIMESTAMP
from activity_indexer.dead_letter import LATEST
from activity_indexer.event import Position
from activity_indexer.ports import Record
from activity_indexer.timestamps import parse_timestamp

MAX_OFFSET: Final = (1 << 63) - 1
MAX_PARTITION: Final = (1 << 31) - 1


def position_of(record: Record) -> Position:
    """The record's own position; of a replayed record its original's, which the replay noted in headers."""
    if record.headers and (original := noted_position(record.headers)) is not None:
        return original
    published = record.timestamp
    if not 0 <= published <= LATEST:  # producers may stamp their records with any number
        published = min(max(0, published), LATEST)
    return Position(published, record.partition, record.offset)


def noted_position(headers: Sequence[tuple[str, bytes | None]]) -> Position | None:
    """The position of the original that a replay noted in the headers, if it did."""
    reported = dict(headers)
    timestamp, partition, offset = (reported.get(name) for name in (REPLAY_TIMESTAMP, REPLAY_PARTITION, REPLAY_OFFSET))
    return position_in(timestamp, partition, offset) if timestamp and partition and offset else None


def position_in(timestamp: bytes, partition: bytes, offset: bytes) -> Position | None:
    """The position in three headers; None when they make none: a producer may write headers of any name."""
    try:
        position = Position(parse_timestamp(timestamp.decode()) // 1000, int(partition), int(offset))
    except ValueError:
        return None
    valid = position.published <= LATEST and position.partition <= MAX_PARTITION and position.offset <= MAX_OFFSET
    return position if valid and min(position) >= 0 else None
