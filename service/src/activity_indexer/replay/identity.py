"""Which document an event is about, and its order there, also of an event that is not valid."""

from __future__ import annotations

from typing import NamedTuple

from activity_indexer.dead_letter import PREFIX
from activity_indexer.dead_letters.payload import Facts
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.event import LAST_TIMESTAMP, RANKS, UNKNOWN_POSITION, Order, Position, event_version
from activity_indexer.origin import noted_position, position_in
from activity_indexer.timestamps import parse_nanoseconds


class Identity(NamedTuple):
    """A document, and the base version and order of an event of it."""

    identifier: str
    version: int
    order: Order


def identity(facts: Facts, position: Position) -> Identity | None:
    """The identity behind what a payload tells; None when that is not enough.

    An event may lack an amount and yet say which document it is about: when that has been corrected since, the document
    has this very order.
    """
    if facts.event_type not in RANKS or not facts.transaction_id:
        return None
    try:
        timestamp = parse_nanoseconds(facts.timestamp)
    except ValueError:
        return None
    if not 0 < timestamp <= LAST_TIMESTAMP:
        return None
    order = Order(timestamp, RANKS[facts.event_type], position)
    return Identity(facts.transaction_id, event_version(facts.event_type, timestamp), order)


def original_position(letter: StoredDeadLetter) -> Position:
    """Where the event of a dead letter, or of one that was sent again, was published for the first time."""
    told = dict(letter.headers)
    timestamp, partition, offset = (told.get(PREFIX + name) for name in ("timestamp", "partition", "offset"))
    failed = position_in(timestamp, partition, offset) if timestamp and partition and offset else None
    return noted_position(letter.headers) or failed or UNKNOWN_POSITION
