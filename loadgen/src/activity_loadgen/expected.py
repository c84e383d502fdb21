"""What a ledger says must be true of the index: pure, whatever order the entries come in."""

from collections.abc import Iterable
from itertools import groupby

import msgspec

from activity_loadgen.generate import Kind
from activity_loadgen.ledger import Entry, Order

Position = tuple[int, int]
"""(partition, offset) of a record in the ledger's topic."""


class FinalEvent(msgspec.Struct, frozen=True, gc=False):
    """The acknowledged valid event that is the state of its transaction: the greatest by its order.

    Of copies that follow each other in that order it is the first. `version` is the base version; `acked_us` is when
    Kafka acknowledged it, in epoch microseconds.
    """

    version: int
    kind: Kind
    order: Order
    sha256: str | None
    acked_us: int

    @property
    def position(self) -> Position:
        """Where the record lies."""
        return self.order[3], self.order[4]

    @property
    def deleted(self) -> bool:
        """Whether the transaction must have a tombstone rather than a document."""
        return self.kind == "deleted"


Ties = tuple[FinalEvent, ...]
"""Events of one transaction with the same timestamp and rank, in their order."""


class ExpectedState:
    """Grows with each ledger entry; holds one final event a transaction, and where each record lies."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.final: dict[str, FinalEvent] = {}
        self.invalid: dict[Position, str] = {}
        self.runs: set[str] = set()
        self.topics: set[str] = set()
        self.first_ack_us: int | None = None
        self._valid: dict[int, set[int]] = {}
        self._last: dict[str, Ties] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take an entry in; the same entry twice changes nothing."""
        self.runs.add(entry.run)
        self.topics.add(entry.topic)
        self.first_ack_us = min(entry.acked_us, self.first_ack_us or entry.acked_us)
        position = (entry.partition, entry.offset)
        if not entry.valid or entry.version is None:
            self.invalid[position] = entry.reason or "unknown"
            return
        self._valid.setdefault(entry.partition, set()).add(entry.offset)
        last = self._last[entry.transaction_id] = with_entry(self._last.get(entry.transaction_id, ()), entry)
        self.final[entry.transaction_id] = final_of(last)

    def is_valid_event(self, position: Position) -> bool:
        """Whether a valid event was acknowledged at that position."""
        return position[1] in self._valid.get(position[0], ())

    def live(self) -> dict[str, FinalEvent]:
        """Final events of the transactions that must be searchable, by transaction id."""
        return {key: event for key, event in self.final.items() if not event.deleted}

    def deleted(self) -> dict[str, FinalEvent]:
        """Final events of the transactions that must be tombstones, by transaction id."""
        return {key: event for key, event in self.final.items() if event.deleted}

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same."""
        return isinstance(other, type(self)) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


def with_entry(known: Ties, entry: Entry) -> Ties:
    """A transaction's latest events, in their order: all that have the greatest timestamp and rank."""
    event = FinalEvent(entry.version or 0, entry.kind, entry.order, entry.sha256, entry.acked_us)
    if known and event.order[:2] != known[0].order[:2]:
        return max(known, (event,), key=lambda events: events[0].order[:2])
    if any(event.order == other.order for other in known):
        return known
    return tuple(sorted((*known, event), key=lambda each: each.order))


def final_of(latest: Ties) -> FinalEvent:
    """The event that decides: the last one, or the first of the copies of it that end the list."""
    final = latest[-1]
    for event in reversed(latest):
        if event.sha256 != final.sha256:
            break
        final = event
    return final


def spans(positions: Iterable[Position]) -> dict[int, tuple[int, int]]:
    """First and last offset wanted of each partition."""
    ranges = {}
    for partition, group in groupby(sorted(positions), key=lambda position: position[0]):
        offsets = [offset for _, offset in group]
        ranges[partition] = (offsets[0], offsets[-1])
    return ranges
