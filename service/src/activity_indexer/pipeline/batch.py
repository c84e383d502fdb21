"""Batches by number, bytes and age, and how many of them travel together.

A batch is *due* when it is full or old enough. Records are not cut into batches when they come: what is due is cut when
a request can take it, so that all batches that became due meanwhile travel in one request. Without that a small batch
size would cost a round trip for each few events just when there are many of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from activity_indexer.memory import footprint, records_bytes
from activity_indexer.offsets import PartitionOffsets, Span
from activity_indexer.ports import Record
from activity_indexer.positions import Partition


@dataclass(slots=True)
class Batch:
    """Records that are processed together in one request, with the spans of offsets that they settle.

    `size` is in bytes of values, `extra` in bytes of keys and headers, `opened_at` in seconds. `requests_done` is
    called at most once, when nothing of the batch is left to be sent to Elasticsearch, and it is not settled yet.
    """

    opened_at: float
    records: list[Record] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    size: int = 0
    extra: int = 0
    requests_done: Callable[[], None] = lambda: None

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


@dataclass(slots=True)
class _Piece:
    """Records of one partition that came at once; `sizes` are those of their values (bytes)."""

    added_at: float
    tracker: PartitionOffsets
    span: Span
    records: Sequence[Record]
    sizes: Sequence[int]
    size: int
    extra: int

    def split(self, count: int) -> _Piece:
        """Take the first records away, as a piece of its own."""
        records, sizes = self.records[:count], self.sizes[:count]
        size = sum(sizes)
        head = _Piece(self.added_at, self.tracker, self.span, records, sizes, size, records_bytes(records) - size)
        self.records, self.sizes = self.records[count:], self.sizes[count:]
        self.size -= size
        self.extra -= head.extra
        self.span = self.tracker.split(self.span, count, _published(self.records))
        return head


class Cut(NamedTuple):
    """How many records the next request takes, what they take in memory, and whether none could join them."""

    records: int
    footprint: int
    full: bool


class Batcher:
    """Keeps what comes from the client until it is due, and cuts it into what the requests take.

    `batch_records`, `max_bytes` and `max_age` say when a batch is due; `max_records` is the number of records up to
    which batches that are due travel together (at least one batch does), `max_bytes` their limit in bytes.
    """

    def __init__(
        self,
        batch_records: int,
        max_bytes: int,
        max_age: float,
        clock: Callable[[], float],
        max_records: int = 0,
    ) -> None:
        self._batch_records = batch_records
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._max_records = max(batch_records, max_records)
        self._clock = clock
        self._pieces: deque[_Piece] = deque()
        self._records = 0
        self._size = 0
        self._extra = 0
        self._rest_since = 0.0

    @property
    def buffered(self) -> int:
        """Records that wait."""
        return self._records

    @property
    def footprint(self) -> int:
        """What they take in memory (bytes)."""
        return footprint(self._records, self._size + self._extra)

    @property
    def due_in(self) -> float | None:
        """Seconds until the batch that is not full yet is old enough to go; None when there is none."""
        if self._records % self._batch_records == 0 and self._size <= self._max_bytes:
            return None
        return max(0.0, self._rest_since + self._max_age - self._clock())

    @property
    def full(self) -> bool:
        """Whether the next request has all that it can take."""
        return self._due() >= self._max_records or self._size > self._max_bytes

    def add(self, polled: Mapping[Partition, Sequence[Record]], offsets: Mapping[Partition, PartitionOffsets]) -> int:
        """Take records; returns the bytes of their values. `offsets` has an entry for each partition."""
        now = self._clock()
        before = self._size
        for partition, records in polled.items():
            if records:
                self._append(now, offsets[partition], records)
        return self._size - before

    def _append(self, now: float, tracker: PartitionOffsets, records: Sequence[Record]) -> None:
        sizes = [len(record.value or b"") for record in records]
        size = sum(sizes)
        extra = records_bytes(records) - size
        tracker.receive(records[-1].offset)
        span = tracker.take([record.offset for record in records], _published(records))
        self._pieces.append(_Piece(now, tracker, span, records, sizes, size, extra))
        rest = self._records % self._batch_records
        if rest == 0 or rest + len(records) >= self._batch_records:
            self._rest_since = now
        self._records += len(records)
        self._size += size
        self._extra += extra

    def _due(self) -> int:
        """Records of the batches that are due: the full ones, and the last one when it is old enough."""
        if self._size > self._max_bytes or self.due_in == 0.0:
            return self._records
        return self._records - self._records % self._batch_records

    def cut(self, *, everything: bool = False) -> Cut | None:
        """What the next request takes; None when nothing is due. `everything` counts as due, full and old or not."""
        due = min(self._records if everything else self._due(), self._max_records)
        if not due:
            return None
        count = size = extra = 0
        for piece in self._pieces:
            if count + len(piece.records) > due or size + piece.size > self._max_bytes:
                fits = self._fits(piece, due - count, self._max_bytes - size, alone=not count)
                part = sum(piece.sizes[:fits])
                extra += records_bytes(piece.records[:fits]) - part
                return Cut(count + fits, footprint(count + fits, size + part + extra), self.full)
            count += len(piece.records)
            size += piece.size
            extra += piece.extra
            if count == due:
                break
        return Cut(count, footprint(count, size + extra), self.full)

    @staticmethod
    def _fits(piece: _Piece, records: int, size: int, *, alone: bool) -> int:
        """How many of a piece's records fit; one does when nothing is there yet."""
        at = 0
        for length in piece.sizes[:records]:
            if length > size and (at or not alone):
                break
            size -= length
            at += 1
        return at

    def take(self, records: int) -> Batch:
        """The first records, as `cut` counted them."""
        batch = Batch(self._pieces[0].added_at)
        while records:
            piece = self._pieces[0]
            if len(piece.records) > records:
                piece = piece.split(records)
            else:
                self._pieces.popleft()
            batch.records += piece.records
            batch.spans.append(piece.span)
            batch.size += piece.size
            batch.extra += piece.extra
            records -= len(piece.records)
        self._records -= len(batch.records)
        self._size -= batch.size
        self._extra -= batch.extra
        if self._pieces and len(batch.records) % self._batch_records:
            self._rest_since = self._pieces[0].added_at  # the last batch has records of an older one
        return batch

    def clear(self) -> None:
        """Forget all records."""
        self._pieces.clear()
        self._records = self._size = self._extra = 0


def _published(records: Sequence[Record]) -> int:
    return max(0, records[0].timestamp)
