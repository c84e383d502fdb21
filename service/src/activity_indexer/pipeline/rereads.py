"""Records that are read again on purpose: Elasticsearch is asked about them, not what is remembered of it.

After an unclean end the group reads on from what it committed last. So a record below that is read again on purpose:
the group's offsets were set back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from activity_indexer.errors import Unavailable
from activity_indexer.ports import OffsetStore, Record
from activity_indexer.positions import Partition


class Rereads:
    """Per partition, the offset below which records are read again; empty, and then without cost, most of the time.

    `store` keeps what the group committed. When it is unavailable, only this process's own rereads count.
    """

    def __init__(self, store: OffsetStore | None = None) -> None:
        self._store = store
        self._below: dict[Partition, int] = {}
        self._known = store is None

    def __bool__(self) -> bool:
        return bool(self._below) or not self._known

    def expect(self, partition: Partition, below: int) -> None:
        """Records of the partition below this offset are read again."""
        self._below[partition] = max(below, self._below.get(partition, 0))

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """The group assigned these partitions: records below what it committed are read again on purpose."""
        self._below = {each: below for each, below in self._below.items() if each in partitions}
        if self._store is not None and partitions:
            with suppress(Unavailable):
                for partition, offset in (await self._store.committed(partitions)).items():
                    self.expect(partition, offset)
        self._known = True

    def revoked(self) -> None:
        """The group takes all partitions back: records may come before the next ones are reported as assigned."""
        self._known = self._store is None

    async def committed(self, offsets: Mapping[Partition, int]) -> None:
        """The group committed these offsets."""
        for partition, offset in offsets.items():
            if offset >= self._below.get(partition, 0):
                self._below.pop(partition, None)
        if self._store is not None:
            with suppress(Unavailable):
                await self._store.remember(offsets)

    def __contains__(self, record: Record) -> bool:
        """Whether it is read again, or may be."""
        return not self._known or record.offset < self._below.get(Partition(record.topic, record.partition), 0)
