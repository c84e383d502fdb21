"""What the indexer decoded lately, for the audit: it reads the same records, and need not decode them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from activity_indexer.event import Event
from activity_indexer.ports import Record

BESIDE: Final = 1024
"""What a kept event takes beside the bytes of its record and of its body: the objects that describe them (bytes)."""

Place = tuple[int, int]
"""Partition and offset."""


class DecodedEvents:
    """Events by the place of their record, the oldest dropped first, within `limit` bytes.

    An event is taken only for a record that is the same in all that decoding depends on, byte for byte. So no rule is
    needed for a topic that was created again, for offsets that were reset, or for partitions that moved: then nothing
    is found, and the audit decodes. Each event is taken once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._events: dict[Place, tuple[Record, Event | None]] = {}
        self._batches: deque[tuple[list[Place], int]] = deque()

    def keep(self, records: Sequence[Record], events: Sequence[Event | None], size: int) -> None:
        """Keep the events of a batch; `events` has None for a record without one, `size` is that of the records."""
        places = [(record.partition, record.offset) for record in records]
        self._events.update(zip(places, zip(records, events, strict=True), strict=True))
        bound = 2 * size + BESIDE * len(places)
        self._batches.append((places, bound))
        self._size += bound
        while self._size > self._limit:
            oldest, bound = self._batches.popleft()
            self._size -= bound
            for place in oldest:
                self._events.pop(place, None)

    def take(self, record: Record, latest: int) -> Event | None:
        """The event that decode_record makes of this record; None when it is not known."""
        kept, event = self._events.pop((record.partition, record.offset), _NOTHING)
        if (
            kept is None
            or event is None
            or type(kept) is not type(record)  # one of them could not be decoded
            or kept.value != record.value
            or kept.timestamp != record.timestamp
            or kept.headers != record.headers
            or event.timestamp > latest * 1000  # the clock was set back
        ):
            return None
        return event


_NOTHING: Final[tuple[Record | None, Event | None]] = (None, None)
