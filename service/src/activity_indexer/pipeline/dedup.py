"""Events that were settled before, by message id: in memory first, then in the store that all indexers share.

An entry says which position of an event was settled, and at which version: the document is at least as late as the
event was. So an event at that position or before it needs no request; one at a later position, be it a copy or a tie,
is written at the version after the noted one, which Elasticsearch refuses if it is wrong.

An entry is relied on for a short time only, as long as Elasticsearch remembers the version of a deleted document: until
then it would answer the same. After that it is asked, and its answer is cheap, too: a version conflict.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from activity_indexer.errors import Unavailable
from activity_indexer.event import Event, Position
from activity_indexer.facts import Severity
from activity_indexer.ports import SeenStore
from activity_indexer.reports import Dependency, DependencyChanged, Emit
from activity_indexer.responsive import ResponsiveTimeout

_ENTRY: Final = struct.Struct(">qiqqI")
"""Published, partition, offset, version, checksum."""
_pack: Final = _ENTRY.pack

PROBE: Final[Mapping[bytes, bytes]] = {bytes(16): bytes(_ENTRY.size)}
"""Is marked to see whether the store takes marks; no message id looks like it."""


class Settled(NamedTuple):
    """What is known of an event: a position that was settled, its document's version (0: unknown), and its checksum."""

    position: Position
    version: int
    checksum: int

    @classmethod
    def read(cls, entry: bytes) -> Settled | None:
        """The entry that was written as these bytes; None when it was not."""
        try:
            published, partition, offset, version, checksum = _ENTRY.unpack(entry)
        except struct.error:
            return None
        return cls(Position(published, partition, offset), version, checksum)


def entry_of(event: Event, version: int) -> bytes:
    """The entry of an event that is settled; `version` is its document's, 0 when that is another's."""
    position = event.position
    return _pack(position.published, position.partition, position.offset, version, event.checksum)


class RecentIds:
    """Entries of at most `size` ids, the latest ones: two generations of half that size."""

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._young_since = self._old_since = self._latest = float("-inf")

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._young or message_id in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def clear(self) -> None:
        """Forget all ids."""
        self._young, self._old = {}, {}

    def get(self, message_id: bytes) -> bytes | None:
        """The entry of an id, if it is known."""
        return self._young.get(message_id) or self._old.get(message_id)

    def known(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The entries of those of the ids that are known, which are none most of the time."""
        if self._young.keys().isdisjoint(ids) and self._old.keys().isdisjoint(ids):
            return {}
        return {each: entry for each in ids if (entry := self.get(each)) is not None}

    def add(self, entries: Mapping[bytes, bytes]) -> None:
        """Remember entries; the older generation is forgotten when the younger is full."""
        if self._half == 0:
            return
        if len(self._young) + len(entries) <= self._half:
            self._young.update(entries)
            return
        for message_id, entry in entries.items():
            if len(self._young) >= self._half:
                self._turn(self._latest)
            self._young[message_id] = entry

    def expire(self, now: float, lifetime: float) -> None:
        """Forget all that was added `lifetime` (seconds) ago, and some that was added later. What follows is new."""
        self._latest = now
        if now - self._old_since >= lifetime:
            self._old = {}
        if now - self._young_since >= lifetime:
            self._young = {}
        if now - self._young_since >= lifetime / 2:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._old, self._old_since = self._young, self._young_since
        self._young, self._young_since = {}, now


@dataclass(frozen=True, slots=True)
class Known:
    """Entries of a batch's ids, by the level that knew them; `namespace` names the index that was asked for."""

    memory: Mapping[bytes, bytes] = field(default_factory=dict)
    store: Mapping[bytes, bytes] = field(default_factory=dict)
    namespace: str = ""
    asked: int = 0
    """Ids that the store was asked for."""

    def get(self, message_id: bytes) -> Settled | None:
        """What is known of an event."""
        entry = self.memory.get(message_id) or self.store.get(message_id)
        return Settled.read(entry) if entry else None

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.memory or message_id in self.store


@dataclass(slots=True)
class Deduplicator:
    """Looks up and marks the ids of whole batches.

    The store may be unavailable: then memory alone answers, and the store is left alone for `retry_interval` seconds,
    so that a batch never waits for it twice. It is asked one question at a time, as the server answers one at a time:
    else a question would wait for the answers to others, and be given up for it. A batch whose turn does not come
    within `patience` seconds goes on without: a slow store slows nothing else. A duplicate that slips through costs a
    version conflict in Elasticsearch.
    A store that failed is up again when it has taken marks: one that is full or read-only answers lookups all the time.
    `namespace` names the index that the ids were settled in, with its history: a new index knows none of them, and when
    it is empty no id is relied on. An id is relied on for `lifetime` seconds. `rely` is called when ids are known.
    """

    recent: RecentIds
    store: SeenStore | None
    retry_interval: float
    clock: Callable[[], float]
    emit: Emit
    namespace: Callable[[], str] = lambda: "index"
    lifetime: Callable[[], float] = lambda: math.inf
    rely: Callable[[], None] = lambda: None
    patience: float = 0.25
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _unavailable_until: float = field(default=float("-inf"), init=False)
    _known_of: str | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)

    async def known(self, ids: Sequence[bytes]) -> Known:
        """Those of the ids that were settled a short time before."""
        found = await self._known(ids)
        if found.memory or found.store:
            self.rely()
        return found

    async def _known(self, ids: Sequence[bytes]) -> Known:
        current = self.namespace()
        if self._known_of not in (None, current):
            self.recent.clear()
        self._known_of = current
        if not current:
            return Known()
        self.recent.expire(self.clock(), self.lifetime())
        memory = self.recent.known(ids)
        unknown = [each for each in ids if each not in memory] if memory else ids
        if not unknown or self.store is None:
            return Known(memory, namespace=current)
        if not await self._may_ask(current):
            return Known(memory, namespace=current)
        try:
            stored = await self.store.seen(unknown)
        except Unavailable as error:
            self._failed(error)
            return Known(memory, namespace=current)
        finally:
            self._asking.release()
        if not self._failing:
            self.emit(DependencyChanged(Dependency.REDIS, None, Severity.WARNS))
        return Known(memory, stored, current, len(unknown))

    async def _may_ask(self, namespace: str) -> bool:
        """Whether a question about this index may be asked now: then `_asking` is held."""
        try:
            async with ResponsiveTimeout(self.patience):
                await self._asking.acquire()
        except TimeoutError:
            return False
        if self.clock() < self._unavailable_until or namespace != self.namespace():
            self._asking.release()
            return False
        return True

    async def mark(self, entries: Mapping[bytes, bytes], namespace: str) -> None:
        """Remember what Elasticsearch settled just now.

        Not when the index was replaced since, as it may lack the documents.
        """
        if not namespace or namespace != self.namespace():
            return
        self.recent.expire(self.clock(), self.lifetime())
        self.recent.add(entries)
        if entries:
            await self._mark_in_store(entries, namespace)

    async def watch(self) -> None:
        """Look again and again whether a store that failed takes marks: without events nothing else would."""
        while True:
            await asyncio.sleep(self.retry_interval)
            if self._failing:
                await self._mark_in_store(PROBE, self.namespace())

    async def _mark_in_store(self, entries: Mapping[bytes, bytes], namespace: str) -> None:
        if self.store is None or not await self._may_ask(namespace):
            return
        try:
            await self.store.mark(entries)
        except Unavailable as error:
            self._failed(error)
        else:
            self._failing = False
            self.emit(DependencyChanged(Dependency.REDIS, None, Severity.WARNS))
        finally:
            self._asking.release()

    def _failed(self, error: Unavailable) -> None:
        self._failing = True
        self._unavailable_until = self.clock() + self.retry_interval
        self.emit(DependencyChanged(Dependency.REDIS, str(error), Severity.WARNS))
