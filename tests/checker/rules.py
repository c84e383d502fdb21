"""What an event means, written down a second time: nothing here comes from the code that is checked."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

RANKS = {"transaction.created": 0, "transaction.updated": 1, "transaction.deleted": 2}
FRACTION = re.compile(r"\.(\d+)")
POSITION = re.compile(r"(\d+):(\d+):(\d+)")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FINER = 3
"""Takes the rank's place in the version of a time with digits below the microsecond."""
TIES = 255
"""Bits of a document's version that count the events which followed each other at one version."""
ADDED = frozenset(
    {"event_type", "source", "_updated_at", "_position", "_enriched", "_enriched_at", "enrichment", "search_content"}
)
"""Fields of a document that are not the transaction's own."""


class Envelope(msgspec.Struct):
    """An event as it was sent."""

    event_type: str
    timestamp: str
    transaction: msgspec.Raw
    source: str | None = None


class Order(NamedTuple):
    """The place of an event among its transaction's: the greatest is the transaction's state.

    `timestamp` is in nanoseconds, `published` the record's timestamp in milliseconds.
    """

    timestamp: int
    rank: int
    published: int
    partition: int
    offset: int


def envelope(value: bytes) -> Envelope:
    """The parts of a valid event. Raises msgspec.MsgspecError for another."""
    return msgspec.json.decode(value, type=Envelope)


def moment(text: str) -> int:
    """Nanoseconds since 1970; without an offset the time is UTC."""
    fraction = FRACTION.search(text)
    found = datetime.fromisoformat(FRACTION.sub("", text))
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    below = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return (aware - EPOCH) // timedelta(seconds=1) * 1_000_000_000 + below


def version_of(value: bytes) -> int:
    """The base version of a valid event: its time in microseconds, then created before updated before deleted."""
    event = envelope(value)
    microseconds, finer = divmod(moment(event.timestamp), 1000)
    return (4 * microseconds + (FINER if finer else RANKS[event.event_type])) * (TIES + 1)


def base(version: int) -> int:
    """A document's version without the count of ties."""
    return version - version % (TIES + 1)


def order_of(value: bytes, published: int, partition: int, offset: int) -> Order:
    """The place of a valid event that was published there."""
    event = envelope(value)
    return Order(moment(event.timestamp), RANKS[event.event_type], published, partition, offset)


def stands_for(source: bytes) -> Order | None:
    """The place of the event that a document or tombstone stands for, as it says itself; None when it does not."""
    found = fields(source)
    kind = "transaction.deleted" if "_deleted_at" in found else _text(found, "event_type")
    time = _text(found, "_deleted_at") or _text(found, "_updated_at")
    position = POSITION.fullmatch(_text(found, "_position"))
    if position is None or kind not in RANKS or not time:
        return None
    return Order(moment(time), RANKS[kind], *map(int, position.groups()))


def same_content(one: bytes, other: bytes) -> bool:
    """Whether two events say the same of their transaction: a deletion says whose it was, others all of it."""
    first, second = envelope(one), envelope(other)
    if "transaction.deleted" in {first.event_type, second.event_type}:
        whose = [fields(bytes(event.transaction)).get("user_id") for event in (first, second)]
        return first.event_type == second.event_type and whose[0] == whose[1]
    return bytes(first.transaction) == bytes(second.transaction) and first.source == second.source


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
    reported = {"event_type": event.event_type, "_updated_at": event.timestamp}
    if (got := _text(found, "event_type")) != reported["event_type"]:
        return f"event_type is {got!r}, the event's is {event.event_type!r}"
    if moment(_text(found, "_updated_at")) != moment(event.timestamp):
        return f"_updated_at is {_text(found, '_updated_at')!r}, the event's timestamp {event.timestamp!r}"
    if event.source is not None and (got := _text(found, "source")) != event.source:
        return f"source is {got!r}, the event's is {event.source!r}"
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
