"""What an event means, written down a second time: nothing here comes from the code that is checked."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

RANKS = {"transaction.created": 0, "transaction.updated": 1, "transaction.deleted": 2}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ADDED = frozenset({"event_type", "_updated_at", "_enriched", "_enriched_at", "enrichment", "search_content"})
"""Fields of a document that are not the transaction's own."""


class Envelope(msgspec.Struct):
    """An event as it was sent."""

    event_type: str
    timestamp: str
    transaction: msgspec.Raw


def envelope(value: bytes) -> Envelope:
    """The parts of a valid event. Raises msgspec.MsgspecError for another."""
    return msgspec.json.decode(value, type=Envelope)


def moment(text: str) -> int:
    """Microseconds since 1970; without an offset the time is UTC."""
    found = datetime.fromisoformat(text)
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def version_of(value: bytes) -> int:
    """The version of a valid event: its time in microseconds, then created before updated before deleted."""
    event = envelope(value)
    return (4 * moment(event.timestamp) + RANKS[event.event_type]) << 8


def is_tombstone(source: bytes) -> bool:
    """Whether a document's body says that its transaction is deleted."""
    return "_deleted_at" in fields(source)


def fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, each as it was written."""
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw])


def unlike(value: bytes, source: bytes) -> str:
    """What a document has otherwise than the event it stands for; empty when nothing."""
    event, found = envelope(value), fields(source)
    if event.event_type == "transaction.deleted":
        return _unlike_deletion(event, found)
    if "_deleted_at" in found:
        return "a tombstone stands for an event that deletes nothing"
    told = {"event_type": event.event_type, "_updated_at": event.timestamp}
    if (got := _text(found, "event_type")) != told["event_type"]:
        return f"event_type is {got!r}, the event's is {event.event_type!r}"
    if moment(_text(found, "_updated_at")) != moment(event.timestamp):
        return f"_updated_at is {_text(found, '_updated_at')!r}, the event's timestamp {event.timestamp!r}"
    return differing(bytes(event.transaction), source)


def differing(transaction: bytes, found: bytes) -> str:
    """The first field of a transaction that is otherwise in what was found; what was added does not count."""
    there = fields(found)
    for name, sent in fields(transaction).items():
        if name not in ADDED and not same(bytes(sent), there.get(name)):
            return f"{name} is {bytes(there.get(name) or b'absent')!r}, was sent as {bytes(sent)!r}"
    return ""


def same(sent: bytes, found: msgspec.Raw | None) -> bool:
    """Whether two JSON texts mean the same, numbers digit for digit."""
    return found is not None and (sent == bytes(found) or exact(sent) == exact(bytes(found)))


def exact(text: bytes) -> Any:
    """A JSON value whose numbers keep what was written: 1.50 is not 1.5."""
    return json.loads(text, parse_float=lambda number: Decimal(number).as_tuple(), parse_int=int)


def _unlike_deletion(event: Envelope, found: dict[str, msgspec.Raw]) -> str:
    if "_deleted_at" not in found:
        return "a live document stands for a deletion"
    if moment(_text(found, "_deleted_at")) != moment(event.timestamp):
        return f"_deleted_at is {_text(found, '_deleted_at')!r}, the event's timestamp {event.timestamp!r}"
    return ""


def _text(found: dict[str, msgspec.Raw], name: str) -> str:
    return msgspec.json.decode(found[name], type=str) if name in found else ""
