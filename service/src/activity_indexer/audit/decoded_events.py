"""What the indexer has decoded, handed on to the audit: it need not read and decode the same records once more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from activity_indexer.errors import EventError, ValidationError
from activity_indexer.event import Event
from activity_indexer.memory import records_bytes
from activity_indexer.pipeline.batch import Batch
from activity_indexer.ports import Partition, Record

BESIDE: Final = 1024
"""What a kept event takes beside the bytes of its record and of its body: the objects that describe them (bytes)."""

INVALID: Final = ValidationError("invalid", "the indexer found no event in this record")
"""In place of an event: the indexer has dead-lettered the record, and said why."""


class Run(NamedTuple):
    """Records of one partition without a gap, and for each its event, or why there is none. `size` is in bytes."""

    records: Sequence[Record]
    events: Sequence[Event | EventError]
    size: int


class _Piece(NamedTuple):
    """Records of one partition that the indexer decoded at once; `end` is the offset after the last one."""

    first: int
    end: int
    topic_id: str
    records: Sequence[Record]
    events: Sequence[Event | None]
    size: int


class _Lane(Struct):
    """One partition. The indexer has decoded what is below `reached`, and did so last at `moved_at`."""

    pieces: deque[_Piece]
    reached: int = -1
    moved_at: float = float("-inf")


class DecodedEvents:
    """The indexer keeps what it has decoded, within `limit` bytes, and never waits; the audit takes it.

    Only partitions that the audit reads are kept. What is taken follows the audit's own position without a gap in the
    offsets: so the audit reads the same records as from Kafka, whatever its position is. The pieces of a partition are
    kept without a gap as well. While there is no room, or behind a gap, nothing more is kept until the audit has taken
    what there is: then it reads what was left out from Kafka, and finds its place here again. Pieces belong to the id
    of a topic: a topic that was created again has offsets of its own. Where the indexer goes back, what was kept is
    forgotten.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._size = 0
        self._lanes: dict[Partition, _Lane] = {}
        self.topic_id: Callable[[], str] = str
        """Tells the id of the topic that the indexer reads; nothing is kept without one."""

    def open(self, places: Iterable[Partition]) -> None:
        """The audit reads these partitions from now on, and no others."""
        self._lanes = {place: _Lane(deque()) for place in places}
        self._size = 0

    def keep(self, batch: Batch, events: Sequence[Event | None]) -> None:
        """Keep the events of a batch; `events` has None for a record without one."""
        if not self._lanes:
            return
        topic_id, now, at = self.topic_id(), self._clock(), 0
        for span in batch.spans:
            count = len(span.offsets)
            records = batch.records[at : at + count]
            self._add(topic_id, records, events[at : at + count], now)
            at += count

    def _add(self, topic_id: str, records: Sequence[Record], events: Sequence[Event | None], now: float) -> None:
        first, end = records[0].offset, records[-1].offset + 1
        lane = self._lanes.get(Partition(records[0].topic, records[0].partition))
        if lane is None:
            return
        if first < lane.reached:
            self._forget(lane)
        lane.reached, lane.moved_at = end, now
        has_gap = end - first != len(records) or (lane.pieces and lane.pieces[-1].end != first)
        if has_gap or not topic_id:
            return
        size = records_bytes(records)
        if self._size + _bound(size, len(records)) <= self._limit:
            self._size += _bound(size, len(records))
            lane.pieces.append(_Piece(first, end, topic_id, records, events, size))

    def take(self, place: Partition, offset: int, topic_id: str, at_most: int, at_least: int = 1) -> Run | None:
        """Records from this offset on, at most so many; None where there are less than `at_least`."""
        lane = self._lanes.get(place)
        if lane is None:
            return None
        while lane.pieces and (lane.pieces[0].end <= offset or lane.pieces[0].topic_id != topic_id):
            self._drop_first(lane)
        if not lane.pieces or lane.pieces[0].first > offset or lane.pieces[-1].end - offset < at_least:
            return None
        piece = lane.pieces[0]
        start = offset - piece.first
        stop = min(start + at_most, len(piece.records))
        records = piece.records[start:stop]
        found = [INVALID if event is None else event for event in piece.events[start:stop]]
        if stop == len(piece.records):
            self._drop_first(lane)
        return Run(records, found, records_bytes(records))

    def is_behind(self, place: Partition, offset: int, seconds: float) -> bool:
        """Whether the indexer is about to decode this offset: it is not past it, and moved within so many seconds."""
        lane = self._lanes.get(place)
        return lane is not None and lane.reached <= offset and self._clock() - lane.moved_at < seconds

    def _forget(self, lane: _Lane) -> None:
        while lane.pieces:
            self._drop_first(lane)

    def _drop_first(self, lane: _Lane) -> None:
        piece = lane.pieces.popleft()
        self._size -= _bound(piece.size, len(piece.records))


def _bound(size: int, records: int) -> int:
    """What records and their events take at most, both with their bytes."""
    return 2 * size + BESIDE * records
