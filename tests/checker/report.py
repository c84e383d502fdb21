"""What the checker found, and how it is reported: the first witness of each kind with its whole history."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from checker.history import Event, History

SHOWN_BYTES = 300


@dataclass(frozen=True)
class Anomaly:
    """A broken promise: its kind, the transaction (or dead letter) that shows it, and what is wrong."""

    kind: str
    subject: str
    text: str


@dataclass(frozen=True)
class Report:
    """All anomalies of a history; dead letters of one event beyond the first are counted, and are none."""

    history: History
    anomalies: tuple[Anomaly, ...]
    repeated_dead_letters: int

    @cached_property
    def counts(self) -> Counter[str]:
        """Anomalies of each kind."""
        return Counter(anomaly.kind for anomaly in self.anomalies)

    def __str__(self) -> str:
        """The first witness of each kind with all that is known of it, or that there is none."""
        if not self.anomalies:
            return f"{len(self.history.acknowledged)} events, no anomaly"
        first = {anomaly.kind: anomaly for anomaly in reversed(self.anomalies)}
        return "\n".join(line for kind in sorted(first) for line in self._witness(first[kind]))

    def _witness(self, anomaly: Anomaly) -> Iterator[str]:
        yield f"{self.counts[anomaly.kind]} x {anomaly.kind}; the first is {anomaly.subject}: {anomaly.text}"
        yield from (f"  {line}" for line in self._story(anomaly.subject))

    def _story(self, key: str) -> Iterator[str]:
        history = self.history
        events = [event for event in history.events if event.transaction_id == key]
        for event in events:
            yield _event_line(event)
            yield from self._seen(event)
        document = history.documents.get(key)
        yield f"index: version {document.version} {_short(document.source)}" if document else "index: nothing"
        yield from self._letters(events)
        if history.audit:
            row = history.audit.live.get(key)
            yield f"audit: version {row.version} {_short(row.body)}" if row else "audit: nothing"
        yield from (f"fault: {fault}" for fault in history.faults)

    def _seen(self, event: Event) -> Iterator[str]:
        place = event.position
        for look in self.history.observations:
            if place and look.committed.get((place.topic, place.partition), 0) > place.offset:
                seen = look.versions.get(event.transaction_id, "not asked for")
                yield f"    first seen below the committed offset at {look.at:.3f}; the index then: {seen}"
                return

    def _letters(self, events: list[Event]) -> Iterator[str]:
        values = {event.value for event in events}
        for letter in self.history.dead_letters:
            if letter.value in values or any(str(event.position) == str(letter.position) for event in events):
                headers = ", ".join(f"{name}={value.decode(errors='replace')}" for name, value in letter.headers)
                yield f"dead letter {letter.position}: {headers}"


def _event_line(event: Event) -> str:
    where = event.position or "never acknowledged"
    published = f", published {event.order.published}" if event.order else ""
    return f"event {where}: {event.kind}, version {event.version}{published}, {_short(event.value)}"


def _short(value: bytes | None) -> str:
    if value is None:
        return "no value"
    text = value[:SHOWN_BYTES].decode(errors="replace")
    return text if len(value) <= SHOWN_BYTES else f"{text}… ({len(value)} bytes)"
