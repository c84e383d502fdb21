"""Makes histories of hand-made events, by default of a system that kept every promise."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from checker.check import PREFIX
from checker.history import Audit, AuditRow, DeadLetter, Document, Event, History, Observation, Position
from checker.rules import Order, envelope, order_of, version_of

TOPIC = "transactions"
START = datetime(2024, 1, 1, 12, tzinfo=UTC)


def value(key: str, second: int, kind: str = "created", nanosecond: int = 0, **fields: object) -> bytes:
    transaction = {"id": key, "user_id": "u", "amount": 1.5, "status": f"after {second}", **fields}
    fraction = f".{nanosecond:09}" if nanosecond else ""
    timestamp = f"{START + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}{fraction}Z"
    return json.dumps(
        {"event_type": f"transaction.{kind}", "transaction": transaction, "timestamp": timestamp}
    ).encode()


def valid(
    offset: int | None,
    key: str,
    second: int,
    kind: str = "created",
    partition: int = 0,
    published: int | None = None,
    **fields: object,
) -> Event:
    """A valid event, published at this offset (and, if nothing else is said, at that millisecond)."""
    text = value(key, second, kind, **fields)  # type: ignore[arg-type]
    place = None if offset is None else Position(TOPIC, partition, offset)
    at = published if published is not None else offset
    order = None if offset is None else order_of(text, at or 0, partition, offset)
    headers = (("traceparent", b"00-1"),)
    return Event(place, b"u", text, headers, key, valid=True, version=version_of(text), kind=kind, order=order)


def invalid(offset: int | None, key: str = "broken", text: bytes | None = b"no JSON") -> Event:
    place = None if offset is None else Position(TOPIC, 0, offset)
    return Event(place, b"u", text, (), key, valid=False, version=None, kind="invalid")


def document(event: Event, **changes: object) -> Document:
    """The document that stands for an event; `changes` are fields that are otherwise."""
    reported = envelope(event.value or b"")
    transaction = json.loads(bytes(reported.transaction))
    if event.deletes:
        body = {"id": transaction["id"], "user_id": transaction["user_id"], "_deleted_at": reported.timestamp}
    else:
        body = {**transaction, "event_type": reported.event_type, "_updated_at": reported.timestamp, "_enriched": True}
        body |= {"source": reported.source} if reported.source else {}
    place = event.order
    body["_position"] = f"{place.published}:{place.partition}:{place.offset}" if place else "77:0:77"
    return Document(event.transaction_id, event.version or 0, json.dumps({**body, **changes}).encode())


def letter(event: Event, number: int = 0, **headers: str) -> DeadLetter:
    """The dead letter of an event; `headers` are those that say otherwise, by the end of their names."""
    place = event.position
    assert place
    reported = {
        "topic": place.topic,
        "partition": str(place.partition),
        "offset": str(place.offset),
        "timestamp": "2024-01-01T12:00:00Z",
        "stage": "decode",
        "error": "invalid_json",
        "message": "it is none",
        "attempts": "1",
        "first-failure": "2024-01-01T12:00:00Z",
        "last-failure": "2024-01-01T12:00:00Z",
        **headers,
    }
    added = tuple((PREFIX + name, text.encode()) for name, text in reported.items())
    return DeadLetter(Position(f"{TOPIC}.dlq", 0, number), event.key, event.value, (*event.headers, *added))


def newest(events: Iterable[Event]) -> dict[str, Event]:
    """The greatest acknowledged event of each transaction."""
    kept = [event for event in events if event.valid and event.position]
    return {event.transaction_id: event for event in sorted(kept, key=lambda event: event.order or ())}


def good(*events: Event, observations: Sequence[Observation] = ()) -> History:
    """What a perfect system leaves behind."""
    final = newest(events)
    kept = {key: document(event) for key, event in final.items()}
    live = {
        key: AuditRow(event.version or 0, bytes(envelope(event.value or b"").transaction))
        for key, event in final.items()
        if not event.deletes
    }
    seen: dict[tuple[str, int], list[bytes | None]] = {}
    for event in (event for event in events if event.valid and event.position):
        body = None if event.deletes else bytes(envelope(event.value or b"").transaction)
        seen.setdefault((event.transaction_id, event.version or 0), []).append(body)
    ends: dict[tuple[str, int], int] = {(TOPIC, 0): 0}
    for place in (event.position for event in events if event.position):
        ends[place.topic, place.partition] = max(ends.get((place.topic, place.partition), 0), place.offset + 1)
    letters = [letter(event, at) for at, event in enumerate(e for e in events if not e.valid and e.position)]
    return History(events, kept, letters, ends, observations, Audit(live, seen))


def but(history: History, **changes: object) -> History:
    """The same history with something otherwise."""
    return dataclasses.replace(history, **changes)  # type: ignore[arg-type]


def look(
    committed: int,
    versions: Mapping[str, int | None],
    dead: Iterable[Position] = (),
    orders: Mapping[str, Order] | None = None,
) -> Observation:
    return Observation(1.0, {(TOPIC, 0): committed}, versions, frozenset(dead), orders or {})
