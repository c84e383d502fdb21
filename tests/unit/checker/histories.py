"""Makes histories of hand-made events, by default of a system that kept every promise."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from checker.check import PREFIX
from checker.history import Audit, AuditRow, DeadLetter, Document, Event, History, Observation, Position
from checker.rules import envelope, version_of

TOPIC = "transactions"
START = datetime(2024, 1, 1, 12, tzinfo=UTC)


def value(key: str, second: int, kind: str = "created", **fields: object) -> bytes:
    transaction = {"id": key, "user_id": "u", "amount": 1.5, "status": f"after {second}", **fields}
    timestamp = (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {"event_type": f"transaction.{kind}", "transaction": transaction, "timestamp": timestamp}
    ).encode()


def valid(offset: int | None, key: str, second: int, kind: str = "created", **fields: object) -> Event:
    text = value(key, second, kind, **fields)
    place = None if offset is None else Position(TOPIC, 0, offset)
    return Event(place, b"u", text, (("traceparent", b"00-1"),), key, valid=True, version=version_of(text), kind=kind)


def invalid(offset: int | None, key: str = "broken", text: bytes | None = b"no JSON") -> Event:
    place = None if offset is None else Position(TOPIC, 0, offset)
    return Event(place, b"u", text, (), key, valid=False, version=None, kind="invalid")


def document(event: Event, **changes: object) -> Document:
    """The document that stands for an event; `changes` are fields that are otherwise."""
    told = envelope(event.value or b"")
    transaction = json.loads(bytes(told.transaction))
    if event.deletes:
        body = {"id": transaction["id"], "user_id": transaction["user_id"], "_deleted_at": told.timestamp}
    else:
        body = {**transaction, "event_type": told.event_type, "_updated_at": told.timestamp, "_enriched": True}
    return Document(event.transaction_id, event.version or 0, json.dumps({**body, **changes}).encode())


def letter(event: Event, number: int = 0, **headers: str) -> DeadLetter:
    """The dead letter of an event; `headers` are those that say otherwise, by their last word."""
    place = event.position
    assert place
    told = {
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
    added = tuple((PREFIX + name, text.encode()) for name, text in told.items())
    return DeadLetter(Position(f"{TOPIC}.dlq", 0, number), event.key, event.value, (*event.headers, *added))


def newest(events: Iterable[Event]) -> dict[str, Event]:
    """The acknowledged event with the greatest version of each transaction."""
    kept = [event for event in events if event.valid and event.position]
    return {event.transaction_id: event for event in sorted(kept, key=lambda event: event.version or 0)}


def good(*events: Event, observations: Sequence[Observation] = ()) -> History:
    """What a perfect system leaves behind."""
    final = newest(events)
    kept = {key: document(event) for key, event in final.items()}
    live = {
        key: AuditRow(event.version or 0, bytes(envelope(event.value or b"").transaction))
        for key, event in final.items()
        if not event.deletes
    }
    seen = frozenset((event.transaction_id, event.version or 0) for event in events if event.valid and event.position)
    last = max((event.position.offset for event in events if event.position), default=-1)
    letters = [letter(event, at) for at, event in enumerate(e for e in events if not e.valid and e.position)]
    return History(events, kept, letters, {(TOPIC, 0): last + 1}, observations, Audit(live, seen))


def but(history: History, **changes: object) -> History:
    """The same history with something otherwise."""
    return dataclasses.replace(history, **changes)  # type: ignore[arg-type]


def look(committed: int, versions: Mapping[str, int | None], dead: Iterable[Position] = ()) -> Observation:
    return Observation(1.0, {(TOPIC, 0): committed}, versions, frozenset(dead))
