"""What the indexer has decoded, handed on to the audit: it need not read and decode the same records once more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from activity_indexer.errors import EventError
from activity_indexer.event import Event
from activity_indexer.memory import records_bytes
from activity_indexer.pipeline.batch import Batch
from activity_indexer.ports import Record
from activity_indexer.positions import Partition

BESIDE: Final = 1024
"""What a kept event takes beside the bytes of its record and of its body: the objects that describe them (bytes)."""

INVALID: Final = EventError("invalid", "the indexer found no event in this record")
"""In place of an event: the indexer has dead-lettered the record, and said why."""


class Run(NamedTuple):
    """Records of one partition without a gap, and for each its event, or why there is none. `size` is in bytes."""

    records: Sequence[Record]
    events: Sequence[Event | EventError]
    size: int


NEAR: Final = 2000
"""Offsets by which the indexer may be behind the audit and still be at the same place."""


@dataclass(slots=True)
class _Lane:
    """One partition: the records that are kept of it, without a gap from `first` on, and what they take (bytes).

    The indexer has decoded what is below `reached`, and once had what is below `highest`. It read on from there last at
    `moved_at`: what it reads again is not waited for.
    """

    topic_id: str = ""
    first: int = 0
    records: list[Record] = field(default_factory=list)
    events: list[Event | None] = field(default_factory=list)
    size: int = 0
    reached: int = -1
    highest: int = -1
    moved_at: float = float("-inf")

    @property
    def end(self) -> int:
        """The offset after the last record that is kept."""
        return self.first + len(self.records)


class DecodedEvents:
    """The indexer keeps what it has decoded, within `limit` bytes, and never waits; the audit takes it.

    Only partitions that the audit reads are kept. What is taken follows the audit's own position without a gap in the
    offsets: so the audit reads the same records as from Kafka, whatever its position is. While there is no room, or
    behind a gap, nothing more is kept of a partition until the audit has taken what there is: then it reads what was
    left out from Kafka, and finds its place here again. What is kept belongs to the id of a topic: a topic that was
    created again has offsets of its own. Where the indexer goes back, what was kept is forgotten.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._size = 0
        self._lanes: dict[Partition, _Lane] = {}
        self.topic_id: Callable[[], str] = str
        """Sets the id of the topic that the indexer reads; nothing is kept without one."""

    def open(self, places: Iterable[Partition]) -> None:
        """The audit reads these partitions from now on, and no others."""
        self._lanes = {place: _Lane() for place in places}
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
        if first < lane.reached or topic_id != lane.topic_id:
            self._forget(lane, len(lane.records))
            lane.highest = lane.highest if topic_id == lane.topic_id else -1
            lane.topic_id = topic_id
        lane.reached, lane.highest = end, max(lane.highest, end)
        lane.moved_at = now if topic_id and end == lane.highest else float("-inf")
        has_gap = end - first != len(records) or (lane.records and lane.end != first)
        size = _bound(records)
        if has_gap or not topic_id or self._size + size > self._limit:
            return
        if not lane.records:
            lane.first = first
        lane.records += records
        lane.events += events
        lane.size += size
        self._size += size

    def take(self, place: Partition, offset: int, topic_id: str, at_most: int, at_least: int = 1) -> Run | None:
        """Records from this offset on, at most this many; None where there are less than `at_least`."""
        lane = self._lanes.get(place)
        if lane is None or not lane.records:
            return None
        if lane.topic_id != topic_id or lane.end <= offset:
            self._forget(lane, len(lane.records))
            return None
        start = offset - lane.first
        if start < 0 or lane.end - offset < at_least:
            return None
        stop = start + at_most
        records = lane.records[start:stop]
        found = [INVALID if event is None else event for event in lane.events[start:stop]]
        self._forget(lane, start + len(records))
        return Run(records, found, records_bytes(records))

    def is_behind(self, place: Partition, offset: int, seconds: float) -> bool:
        """Whether the indexer is about to decode this offset: it is near, not past it, and read on in these seconds."""
        lane = self._lanes.get(place)
        return lane is not None and 0 <= offset - lane.reached <= NEAR and self._clock() - lane.moved_at < seconds

    def _forget(self, lane: _Lane, count: int) -> None:
        """Forget the first records of a partition."""
        size = lane.size if count == len(lane.records) else _bound(lane.records[:count])
        del lane.records[:count], lane.events[:count]
        lane.first += count
        lane.size -= size
        self._size -= size


def _bound(records: Sequence[Record]) -> int:
    """What records and their events take at most, both with their bytes."""
    return 2 * records_bytes(records) + BESIDE * len(records)
