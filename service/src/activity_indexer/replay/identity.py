"""Which document an event is about, and its version there, also of an event that is not valid."""

from __future__ import annotations

from typing import NamedTuple

from activity_indexer.dead_letters.payload import Facts
from activity_indexer.event import RANKS, event_version
from activity_indexer.timestamps import parse_nanoseconds


class Identity(NamedTuple):
    """A document and an event version."""

    identifier: str
    version: int


def identity(facts: Facts) -> Identity | None:
    """The identity behind what a payload tells; None when that is not enough.

    An event may lack an amount and yet say which document it is about: when that has been corrected since, the document
    has this very version.
    """
    if facts.event_type not in RANKS or not facts.transaction_id:
        return None
    try:
        timestamp = parse_nanoseconds(facts.timestamp)
    except ValueError:
        return None
    return Identity(facts.transaction_id, event_version(facts.event_type, timestamp)) if timestamp > 0 else None
