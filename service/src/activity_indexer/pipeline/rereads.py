"""Records that are read again on purpose: Elasticsearch is asked about them, not what is remembered of it."""

from __future__ import annotations

from activity_indexer.ports import Partition, Record


class Rereads:
    """Per partition, the offset below which records are read again; empty, and then without cost, most of the time."""

    def __init__(self) -> None:
        self._below: dict[Partition, int] = {}

    def __bool__(self) -> bool:
        return bool(self._below)

    def expect(self, partition: Partition, below: int) -> None:
        """Records of the partition below this offset are read again."""
        self._below[partition] = max(below, self._below.get(partition, 0))

    def committed(self, partition: Partition, offset: int) -> None:
        """The partition is settled up to this offset."""
        if offset >= self._below.get(partition, 0):
            self._below.pop(partition, None)

    def __contains__(self, record: Record) -> bool:
        """Whether it is read again."""
        return record.offset < self._below.get(Partition(record.topic, record.partition), 0)
