"""Where an event was published for the first time: the position that orders it among its ties."""

from __future__ import annotations

from typing import Final

from activity_indexer.dead_letter import LATEST, REPLAY_OFFSET, REPLAY_PARTITION, REPLAY_TIMESTAMP
from activity_indexer.event import Position
from activity_indexer.ports import Record
from activity_indexer.timestamps import parse_timestamp

MAX_OFFSET: Final = (1 << 63) - 1
MAX_PARTITION: Final = (1 << 31) - 1


def position_of(record: Record) -> Position:
    """The record's own position; of a replayed record its original's, which the replay noted in headers."""
    if record.headers and (original := _original(record)) is not None:
        return original
    published = record.timestamp
    if not 0 <= published <= LATEST:  # producers may stamp their records with any number
        published = min(max(0, published), LATEST)
    return Position(published, record.partition, record.offset)


def _original(record: Record) -> Position | None:
    told = dict(record.headers)
    if REPLAY_OFFSET not in told:
        return None
    try:
        published = parse_timestamp(told[REPLAY_TIMESTAMP].decode()) // 1000
        position = Position(published, int(told[REPLAY_PARTITION]), int(told[REPLAY_OFFSET]))
    except (KeyError, ValueError, TypeError, AttributeError):  # a producer may write headers of these names
        return None
    valid = position.published <= LATEST and position.partition <= MAX_PARTITION and position.offset <= MAX_OFFSET
    return position if valid and min(position) >= 0 else None
