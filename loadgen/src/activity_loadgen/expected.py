"""What a ledger says must be true of the index: pure, whatever order the entries come in."""

from collections.abc import Iterable
from itertools import groupby

import msgspec

from activity_loadgen.generate import Kind
from activity_loadgen.ledger import Entry

Position = tuple[int, int]
"""(partition, offset) of a record in the ledger's topic."""


class FinalEvent(msgspec.Struct, frozen=True, gc=False):
    """The acknowledged valid event with a transaction's greatest version, at its first position.

    `acked_us` is when Kafka acknowledged it, in epoch microseconds.
    """

    version: int
    kind: Kind
    position: Position
    sha256: str | None
    acked_us: int

    @property
    def deleted(self) -> bool:
        """Whether the transaction must have a tombstone rather than a document."""
        return self.kind == "deleted"


class ExpectedState:
    """Grows with each ledger entry; holds one final event a transaction, and where each record lies."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.final: dict[str, FinalEvent] = {}
        self.invalid: dict[Position, str] = {}
        self.runs: set[str] = set()
        self.topics: set[str] = set()
        self.first_ack_us: int | None = None
        self._valid: dict[int, set[int]] = {}
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
        event = FinalEvent(entry.version, entry.kind, position, entry.sha256, entry.acked_us)
        known = self.final.get(entry.transaction_id)
        if known is None or (-known.version, known.position) > (-event.version, event.position):
            self.final[entry.transaction_id] = event

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


def spans(positions: Iterable[Position]) -> dict[int, tuple[int, int]]:
    """First and last offset wanted of each partition."""
    ranges = {}
    for partition, group in groupby(sorted(positions), key=lambda position: position[0]):
        offsets = [offset for _, offset in group]
        ranges[partition] = (offsets[0], offsets[-1])
    return ranges
