"""Finds every anomaly of a recorded history: pure functions, one for each place to look at."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

from checker.history import Audit, AuditRow, DeadLetter, Document, Event, History, Observation, Position
from checker.report import Anomaly, Report
from checker.rules import (
    Order,
    base,
    differing,
    envelope,
    is_tombstone,
    same,
    same_content,
    stands_for,
    unlike,
)
from msgspec import Raw

PREFIX = "dead-letter-"
STAGES = ("decode", "validate", "enrich", "index")
NUMBERS = ("attempts", "partition", "offset")
REQUIRED = (
    "topic",
    "partition",
    "offset",
    "timestamp",
    "stage",
    "error",
    "message",
    "attempts",
    "first-failure",
    "last-failure",
)


def check(history: History) -> Report:
    """All anomalies of a run that has come to rest."""
    found = [
        *_transactions(history),
        *_invalid_events(history),
        *_documents(history),
        *_dead_letters(history),
        *_commits(history),
        *_unsettled(history),
        *_audit(history),
    ]
    return Report(history, tuple(found), repeated_dead_letters(history))


def origin(letter: DeadLetter) -> Position | None:
    """Where a dead letter's headers lead back to; None when they lead nowhere."""
    reported = dict(letter.headers)
    with suppress(KeyError, ValueError):
        place = reported[f"{PREFIX}partition"], reported[f"{PREFIX}offset"]
        return Position(reported[f"{PREFIX}topic"].decode(), *map(int, place))
    return None


def repeated_dead_letters(history: History) -> int:
    """Dead letters of events that had one already: allowed, as a killed indexer repeats its last work, and counted."""
    places = Counter(place for letter in history.dead_letters if (place := origin(letter)))
    return sum(count - 1 for count in places.values())


def _dead_places(history: History) -> set[Position]:
    return {place for letter in history.dead_letters if (place := origin(letter))}


def _transactions(history: History) -> Iterator[Anomaly]:
    """Every transaction shows its newest acknowledged event, or a newer one."""
    dead = _dead_places(history)
    for key, events in history.of_transaction.items():
        kept = [event for event in events if event.position and event.position not in dead]
        if kept:
            yield from _transaction(kept, history.documents.get(key))


def _transaction(events: list[Event], document: Document | None) -> Iterator[Anomaly]:
    newest = events[-1]
    wanted = newest.version or 0
    key = newest.transaction_id
    if document is None:
        yield Anomaly(
            "lost event", key, f"version {wanted} at {newest.position} is acknowledged, the index has nothing"
        )
    elif base(document.version) < wanted:
        if newest.deletes and not is_tombstone(document.source):
            yield Anomaly(
                "resurrected document", key, f"deleted at {newest.position}, yet version {document.version} lives"
            )
        else:
            yield Anomaly("stale document", key, f"version {document.version}, acknowledged is {wanted}")
    elif base(document.version) == wanted and (found := stands_for(document.source)):
        later = [event for event in events if event.order and event.order > found]
        others = [event for event in later if unlike(event.value or b"", document.source)]
        if others:
            text = f"stands for the event at {found}, a later one with the same version is at {others[-1].order}"
            yield Anomaly("stale document", key, text)


def _invalid_events(history: History) -> Iterator[Anomaly]:
    """Every invalid event has a dead letter."""
    dead = _dead_places(history)
    for event in history.acknowledged:
        if not event.valid and event.position not in dead:
            yield Anomaly(
                "lost event", event.transaction_id, f"the invalid event at {event.position} has no dead letter"
            )


def _documents(history: History) -> Iterator[Anomaly]:
    """Every document is what one of its transaction's events says."""
    for key, document in history.documents.items():
        events = history.of_transaction.get(key, ())
        same_version = [event for event in events if event.version == base(document.version)]
        if not same_version:
            yield Anomaly("unexplained document", key, f"no event of this transaction has version {document.version}")
        elif problem := _unexplained(history, document, same_version):
            yield Anomaly("unexplained document", key, problem)


def _unexplained(history: History, document: Document, events: list[Event]) -> str:
    """Why none of these events, which have the document's base version, explains it; empty when one does."""
    ties = document.version - base(document.version)
    if ties >= len(events):
        return f"version {document.version} counts {ties} ties, {len(events)} events share it"
    reasons = [unlike(event.value or b"", document.source) for event in events]
    if all(reasons):
        return reasons[0]
    alike = [event for event, reason in zip(events, reasons, strict=True) if not reason]
    found = stands_for(document.source)
    if found is None:
        return "it does not say for which event it stands"
    if all(event.order != found for event in alike) and not any(event.order is None for event in alike):
        there = next((e for e in history.acknowledged if e.order == found), "nothing")
        return f"it stands for the event at {found}, where {there} was published"
    return ""


def _dead_letters(history: History) -> Iterator[Anomaly]:
    for letter in history.dead_letters:
        place = origin(letter)
        event = history.at.get(place) if place else None
        key = event.transaction_id if event else str(letter.position)
        if problem := _headers_problem(letter):
            yield Anomaly("dead letter astray", key, f"{letter.position}: {problem}")
        elif event is None:
            yield from _unknown_origin(history, letter)
        else:
            yield from _dead_letter(letter, event)


def _headers_problem(letter: DeadLetter) -> str:
    reported = {name.removeprefix(PREFIX): value for name, value in letter.headers if name.startswith(PREFIX)}
    if missing := [name for name in REQUIRED if not reported.get(name)]:
        return f"no header {PREFIX}{missing[0]}"
    if reported["stage"].decode() not in STAGES:
        return f"unknown stage {reported['stage']!r}"
    if odd := [name for name in NUMBERS if not reported[name].isdigit()]:
        return f"{PREFIX}{odd[0]} is no number: {reported[odd[0]]!r}"
    return ""


def _unknown_origin(history: History, letter: DeadLetter) -> Iterator[Anomaly]:
    """An event that was sent but never acknowledged may be in the topic all the same."""
    if not any(event.position is None and event.value == letter.value and not event.valid for event in history.events):
        yield Anomaly("dead letter astray", str(letter.position), f"nothing was acknowledged at {origin(letter)}")


def _dead_letter(letter: DeadLetter, event: Event) -> Iterator[Anomaly]:
    if event.valid:
        reason = dict(letter.headers)[f"{PREFIX}message"].decode(errors="replace")
        yield Anomaly("valid event dead-lettered", event.transaction_id, f"{event.position}: {reason}")
    if (letter.key, letter.value) != (event.key, event.value):
        yield Anomaly(
            "dead letter differs", event.transaction_id, f"{letter.position} is not what {event.position} was"
        )
    kept = tuple(header for header in letter.headers if not header[0].startswith(PREFIX))
    if kept != event.headers:
        text = f"{letter.position} has headers {kept}, the event had {event.headers}"
        yield Anomaly("dead letter differs", event.transaction_id, text)


def _commits(history: History) -> Iterator[Anomaly]:
    """No offset was ever committed past an event that was not settled at that time."""
    waiting = list(history.acknowledged)
    for look in history.observations:
        left: list[Event] = []
        for event in waiting:
            if not _is_judged(event, look):
                left.append(event)
            elif problem := _unsettled_in(history, event, look):
                yield Anomaly("offset past an unsettled event", event.transaction_id, problem)
        waiting = left


def _is_judged(event: Event, look: Observation) -> bool:
    """Whether this look says something about the event: it is below what was committed, and was looked for."""
    place = event.position
    if place is None or place.offset >= look.committed.get((place.topic, place.partition), 0):
        return False
    return not event.valid or event.transaction_id in look.versions


def _unsettled_in(history: History, event: Event, look: Observation) -> str:
    if event.position in look.dead:
        return ""
    found = look.versions.get(event.transaction_id) if event.valid else None
    if found is not None and _is_settled(history, event, found, look.orders.get(event.transaction_id)):
        return ""
    return f"{event.position} (version {event.version}) was committed at {look.at:.3f}, seen after that: {found}"


def _is_settled(history: History, event: Event, version: int, stood_for: Order | None) -> bool:
    """Whether a document with this version, which stood for that event, shows that the event was settled."""
    if base(version) != event.version or stood_for is None or event.order is None:
        return base(version) >= (event.version or 0)
    if stood_for >= event.order:
        return True
    there = [each for each in history.of_transaction[event.transaction_id] if each.order == stood_for]
    return any(same_content(each.value or b"", event.value or b"") for each in there)


def _unsettled(history: History) -> Iterator[Anomaly]:
    """At the end everything is committed."""
    for event in history.acknowledged:
        place = event.position
        if place and place.offset >= history.committed.get((place.topic, place.partition), 0):
            yield Anomaly("not committed at the end", event.transaction_id, f"{place} is not below the group's offset")


def _audit(history: History) -> Iterator[Anomaly]:
    """The audit has seen every valid event, and shows the same transactions as the index."""
    audit = history.audit
    if audit is None:
        return
    for event in history.acknowledged:
        if event.valid and not _is_in_audit(audit, event):
            yield Anomaly("audit differs", event.transaction_id, f"the event at {event.position} is not in its history")
    for key in sorted(history.documents.keys() | audit.live.keys()):
        if problem := _audit_problem(history, key, audit.live.get(key)):
            yield Anomaly("audit differs", key, problem)


def _is_in_audit(audit: Audit, event: Event) -> bool:
    bodies = audit.seen.get((event.transaction_id, event.version or 0), ())
    sent = bytes(envelope(event.value or b"").transaction)
    return any(body is None if event.deletes else body is not None and same(sent, Raw(body)) for body in bodies)


def _audit_problem(history: History, key: str, row: AuditRow | None) -> str:
    document = history.documents.get(key)
    alive = document is not None and not is_tombstone(document.source)
    if document is None or not alive:
        return f"version {row.version} lives in the audit alone" if row else ""
    if row is None:
        return f"version {document.version} is in the index and not in the audit"
    if row.version != base(document.version):
        return f"version {row.version}, the index has {document.version}"
    events = [event for event in history.of_transaction.get(key, ()) if event.version == row.version]
    sent = next((e.value for e in events if not unlike(e.value or b"", document.source)), None)
    return differing(bytes(envelope(sent).transaction), row.body) if sent else ""
