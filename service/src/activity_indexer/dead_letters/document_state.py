"""What a replay of an event would change, given the state of its document now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from activity_indexer.dead_letters.payload import Facts
from activity_indexer.errors import EventError
from activity_indexer.event import (
    LAST_TIMESTAMP,
    RANKS,
    UNKNOWN_POSITION,
    Event,
    Order,
    Position,
    base_version,
    event_version,
    version_microseconds,
)
from activity_indexer.pipeline.decode import MAX_ID_BYTES, decode_event
from activity_indexer.timestamps import format_nanoseconds, format_timestamp, parse_nanoseconds


class Standing(Enum):
    """The document's state beside the event's."""

    ABSENT = "absent"
    OLDER = "older"
    SAME = "same"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document's version; `deleted`: it is a tombstone. `order` is that of its event, when it is known."""

    version: int
    deleted: bool
    order: Order | None = None

    @property
    def time(self) -> str:
        """The timestamp of the event that wrote it, RFC 3339."""
        if self.order:
            return format_nanoseconds(self.order.timestamp)
        return format_timestamp(version_microseconds(self.version))


@dataclass(frozen=True, slots=True)
class Outlook:
    """`changes`: whether a replay of the event as it is would change the document.

    `standing` is None when there is no event to compare, or when the index could not be asked.
    """

    changes: bool
    text: str
    standing: Standing | None = None
    document: StoredDocument | None = None

    def as_json(self) -> dict[str, Any]:
        """The outlook for programs."""
        found = self.document
        return {
            "state": self.standing.value if self.standing else None,
            "deleted": found.deleted if found else None,
            "version": found.version if found else None,
            "time": found.time if found else None,
            "replayChanges": self.changes,
            "outlook": self.text,
        }


def readable_event(
    value: bytes | None, latest: int, enrich: Callable[[Event], object], position: Position = UNKNOWN_POSITION
) -> tuple[Event | None, EventError | None]:
    """The event in a payload, and why it would not get as far as Elasticsearch now; arguments as in decode_event."""
    try:
        event = decode_event(value, latest, position)
    except EventError as error:
        return None, error
    try:
        if not event.deleted:
            enrich(event)
    except EventError as error:
        return event, error
    return event, None


class Identity(NamedTuple):
    """A document, and the base version and order of an event of it."""

    identifier: str
    version: int
    order: Order


def identity(facts: Facts, position: Position = UNKNOWN_POSITION) -> Identity | None:
    """The identity behind what a payload says; None when that is not enough.

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


def identity_of(event: Event) -> Identity:
    """The identity of a valid event: what `identity` finds in its payload, which need not be read again."""
    return Identity(event.transaction.id, event.version, event.order)


def is_document_id(identifier: str) -> bool:
    """Whether a document can have this id at all."""
    return 0 < len(identifier.encode(errors="replace")) <= MAX_ID_BYTES


def standing(version: int, order: Order, document: StoredDocument | None) -> Standing:
    """How the document stands beside an event of this base version and order."""
    if document is None:
        return Standing.ABSENT
    theirs = base_version(document.version)
    if theirs != version:
        return Standing.OLDER if theirs < version else Standing.NEWER
    if document.order is None or document.order == order:
        return Standing.SAME
    return Standing.OLDER if document.order < order else Standing.NEWER


def outlook(
    event: Event | None, error: EventError | None, document: StoredDocument | None, stage: str, *, asked: bool = True
) -> Outlook:
    """What a replay of the event, as it is, would change; `asked`: whether there was an id to ask for its document."""
    if event is None:
        now = f"; its document now: {_described(document)}" if asked else ""
        return Outlook(False, f"a replay as it is would change nothing: {_words(error)}{now}", None, document)
    found = standing(event.version, event.order, document)
    what = _described(document, found)
    if found in (Standing.SAME, Standing.NEWER):
        return Outlook(False, f"{what}: a replay would change nothing", found, document)
    if error:
        return Outlook(False, f"{what}, but the event would come back: {_words(error)}", found, document)
    text = f"{what}: a replay would {_effect(event, document)}"
    if stage == "index":
        text += ", if what Elasticsearch refused is fixed"
    return Outlook(True, text, found, document)


def unknown(event: Event | None, error: EventError | None, reason: str) -> Outlook:
    """When the document's state cannot be had; `changes` says what would be if there were none."""
    again = f"; the event would come back: {_words(error)}" if error else ""
    return Outlook(event is not None and error is None, f"its state is unknown: {reason}{again}")


def _words(error: EventError | None) -> str:
    return f"{error.code}: {error.message}" if error else "it is no event"


def _effect(event: Event, document: StoredDocument | None) -> str:
    if event.deleted:
        return "delete the transaction"
    if document is None:
        return "index it"
    return "bring it back, since the event is newer than the deletion" if document.deleted else "bring it up to date"


def _described(document: StoredDocument | None, found: Standing | None = None) -> str:
    if document is None:
        return "absent"
    kind = "a tombstone" if document.deleted else "there"
    beside = {Standing.SAME: ", from this very event", Standing.OLDER: ", older", Standing.NEWER: ", newer"}
    return f"{kind}{beside.get(found, '') if found else ''} ({document.time})"
