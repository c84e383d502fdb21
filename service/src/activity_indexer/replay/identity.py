"""Which document an event is about, and its order there, also of an event that is not valid."""

from __future__ import annotations

from typing import Final, NamedTuple

from activity_common.dead_letter_headers import PREFIX, REPLAY_OFFSET, REPLAY_PARTITION, REPLAY_TIMESTAMP
from activity_indexer.dead_letters.payload import Facts
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.event import LAST_TIMESTAMP, RANKS, UNKNOWN_POSITION, Event, Order, Position, event_version
from activity_indexer.origin import position_in
from activity_indexer.timestamps import parse_nanoseconds

NOTED: Final = (REPLAY_TIMESTAMP, REPLAY_PARTITION, REPLAY_OFFSET)
"""Headers of an event that a replay sent."""

FAILED: Final = (f"{PREFIX}timestamp", f"{PREFIX}partition", f"{PREFIX}offset")
"""Headers of a dead letter."""


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
    for names in (NOTED, FAILED):
        timestamp, partition, offset = map(letter.raw, names)
        if timestamp and partition and offset and (found := position_in(timestamp, partition, offset)):
            return found
    return UNKNOWN_POSITION


def identity_of(event: Event) -> Identity:
    """The identity of a valid event: what `identity` finds in its payload, which need not be read again."""
    return Identity(event.transaction.id, event.version, event.order)
