"""What was recorded of a run: values alone, in the checker's own words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from checker.rules import Order

Headers = tuple[tuple[str, bytes], ...]
PartitionKey = tuple[str, int]
"""Topic and number of a partition."""


class Position(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


@dataclass(frozen=True)
class Event:
    """A record that was sent.

    `position` is None when Kafka never acknowledged it: it may be in the topic or not. `valid` is what its maker says;
    `version` is the base version of a valid event, by the checker's own rule, and None for an invalid one.
    """

    position: Position | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    transaction_id: str
    valid: bool
    version: int | None
    kind: str
    """`created`, `updated` or `deleted`; `invalid` for an event that no consumer can accept."""
    order: Order | None = None
    """The place of a valid event among its transaction's; None when it was never acknowledged."""

    @property
    def deletes(self) -> bool:
        """Whether it removes its transaction."""
        return self.kind == "deleted"


@dataclass(frozen=True)
class Document:
    """What the index holds under an id, tombstones too; `source` is the body's bytes."""

    id: str
    version: int
    source: bytes


@dataclass(frozen=True)
class DeadLetter:
    """A record of the dead-letter topic."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True)
class AuditRow:
    """A live transaction in the audit; `body` is the transaction's JSON."""

    version: int
    body: bytes


@dataclass(frozen=True)
class Audit:
    """The audit's tables: live rows by transaction id, and every event that it has seen.

    `seen` has the bodies of the events (None of a deletion) by transaction id and base version.
    """

    live: Mapping[str, AuditRow]
    seen: Mapping[tuple[str, int], Sequence[bytes | None]]


@dataclass(frozen=True)
class Observation:
    """A look at the running system.

    First the group's committed offsets were asked for, then, later, everything else: so whatever lies below these
    offsets must be settled in what was seen afterwards. `versions` has an entry for each id that was looked for, None
    where the index had nothing. `dead` are the positions that dead letters came from, of all that were there.
    """

    at: float
    committed: Mapping[PartitionKey, int]
    versions: Mapping[str, int | None]
    dead: frozenset[Position]
    orders: Mapping[str, Order] = field(default_factory=dict)
    """What the documents stood for, as they say themselves."""


@dataclass(frozen=True)
class History:
    """All of a run. `audit` is None when there was none."""

    events: Sequence[Event]
    documents: Mapping[str, Document]
    dead_letters: Sequence[DeadLetter]
    committed: Mapping[PartitionKey, int]
    observations: Sequence[Observation] = ()
    audit: Audit | None = None
    faults: Sequence[str] = field(default=())
    """What was done to the system, in words and in order; shown with a witness."""

    @cached_property
    def acknowledged(self) -> list[Event]:
        """Events that Kafka has, as it said."""
        return [event for event in self.events if event.position is not None]

    @cached_property
    def at(self) -> dict[Position, Event]:
        """The acknowledged event at each position."""
        return {event.position: event for event in self.events if event.position is not None}

    @cached_property
    def of_transaction(self) -> dict[str, list[Event]]:
        """Every transaction's valid events in their order, those that were never acknowledged before all others."""
        valid = sorted((e for e in self.events if e.valid), key=lambda e: (e.transaction_id, e.order or ()))
        return {key: list(group) for key, group in groupby(valid, key=lambda e: e.transaction_id)}
