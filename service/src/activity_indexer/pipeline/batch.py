"""Batches by number, bytes and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from activity_indexer.memory import footprint, record_bytes
from activity_indexer.offsets import PartitionOffsets, Span
from activity_indexer.ports import Partition, Record


@dataclass(slots=True)
class Batch:
    """Records that are processed together, with the spans of offsets that they settle.

    `size` is in bytes of values, `extra` in bytes of keys and headers, `opened_at` in seconds.
    """

    opened_at: float
    records: list[Record] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    size: int = 0
    extra: int = 0

    @property
    def footprint(self) -> int:
        """What the batch takes in memory while it is under way (bytes)."""
        return footprint(len(self.records), self.size + self.extra)

    def settle_all(self) -> None:
        """Every record is settled."""
        for span in self.spans:
            span.settle_all()

    def settle(self, indices: Sequence[int]) -> None:
        """The records at these places of the batch are settled."""
        places = [(span, at) for span in self.spans for at in range(len(span.offsets))]
        for index in indices:
            span, at = places[index]
            span.settle(at)


class Batcher:
    """Cuts what comes from the client into batches."""

    def __init__(self, max_records: int, max_bytes: int, max_age: float, clock: Callable[[], float]) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._open: Batch | None = None

    @property
    def buffered(self) -> int:
        """Records in the batch that is not full yet."""
        return len(self._open.records) if self._open else 0

    @property
    def footprint(self) -> int:
        """What the batch that is not full yet takes in memory (bytes)."""
        return self._open.footprint if self._open else 0

    @property
    def due_in(self) -> float | None:
        """Seconds until the open batch is old enough to go; None when there is none."""
        return None if self._open is None else max(0.0, self._open.opened_at + self._max_age - self._clock())

    def add(
        self, polled: Mapping[Partition, Sequence[Record]], offsets: Mapping[Partition, PartitionOffsets]
    ) -> list[Batch]:
        """Take records; returns the batches that became full. `offsets` has an entry for each partition."""
        full: list[Batch] = []
        for partition, records in polled.items():
            if records:
                offsets[partition].receive(records[-1].offset)
                full += self._cut(records, offsets[partition])
        return full

    def _cut(self, records: Sequence[Record], tracker: PartitionOffsets) -> list[Batch]:
        full: list[Batch] = []
        start = 0
        while start < len(records):
            batch = self._open or Batch(self._clock())
            stop, size = self._fill(batch, records, start)
            if stop > start:
                taken = records[start:stop]
                batch.records += taken
                batch.size += size
                batch.extra += sum([record_bytes(record) for record in taken]) - size
                offsets = [record.offset for record in records[start:stop]]
                batch.spans.append(tracker.take(offsets, max(0, records[start].timestamp)))
            self._open = batch
            if stop < len(records) or len(batch.records) >= self._max_records:
                full.append(batch)
                self._open = None
            start = stop
        return full

    def _fill(self, batch: Batch, records: Sequence[Record], start: int) -> tuple[int, int]:
        """Where the batch is full, and the bytes up to there; a batch holds one record at least."""
        room = min(len(records), start + self._max_records - len(batch.records))
        size = 0
        for at in range(start, room):
            length = len(records[at].value or b"")
            if batch.size + size + length > self._max_bytes and (batch.records or at > start):
                return at, size
            size += length
        return room, size

    def take_due(self) -> Batch | None:
        """The open batch, when it is old enough."""
        return self.take() if self.due_in == 0.0 else None

    def take(self) -> Batch | None:
        """The open batch, full or not."""
        batch, self._open = self._open, None
        return batch
