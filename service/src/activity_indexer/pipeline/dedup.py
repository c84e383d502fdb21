"""Message ids that were settled before: in memory first, then in the store that all indexers share.

An id is relied on for a short time only, as long as Elasticsearch remembers the version of a deleted document: until
then it would answer the same. After that it is asked, and its answer is cheap, too: a version conflict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from activity_indexer.errors import Unavailable
from activity_indexer.ports import SeenStore


class RecentIds:
    """At most `size` ids, the latest ones: two generations of half that size, so that an id costs one set entry."""

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: set[str] = set()
        self._old: set[str] = set()
        self._young_since = self._old_since = self._latest = float("-inf")

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._young or message_id in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def clear(self) -> None:
        """Forget all ids."""
        self._young, self._old = set(), set()

    def add(self, message_ids: Iterable[str]) -> None:
        """Remember ids; the older generation is forgotten when the younger is full."""
        if self._half == 0:
            return
        for message_id in message_ids:
            if len(self._young) >= self._half:
                self._turn(self._latest)
            self._young.add(message_id)

    def expire(self, now: float, lifetime: float) -> None:
        """Forget all that was added `lifetime` (seconds) ago, and some that was added later. What follows is new."""
        self._latest = now
        if now - self._old_since >= lifetime:
            self._old = set()
        if now - self._young_since >= lifetime:
            self._young = set()
        if now - self._young_since >= lifetime / 2:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._old, self._old_since = self._young, self._young_since
        self._young, self._young_since = set(), now


@dataclass(frozen=True, slots=True)
class Known:
    """Which ids of a batch are known, by the level that knew them; `namespace` names the index that was asked for."""

    memory: frozenset[str] = frozenset()
    store: frozenset[str] = frozenset()
    namespace: str = ""

    def __contains__(self, message_id: str) -> bool:
        return message_id in self.memory or message_id in self.store


@dataclass(slots=True)
class Deduplicator:
    """Looks up and marks the ids of whole batches.

    The store may be unavailable: then memory alone answers, and the store is left alone for `retry_interval` seconds,
    so that a batch never waits for it twice. A duplicate that slips through costs a version conflict in Elasticsearch.
    A store that failed is up again when it has taken marks: one that is full or read-only answers lookups all the time.
    `namespace` names the index that the ids were settled in, with its history: a new index knows none of them, and when
    it is empty no id is relied on. An id is relied on for `lifetime` seconds. `rely` is called when ids are known.
    """

    recent: RecentIds
    store: SeenStore | None
    retry_interval: float
    clock: Callable[[], float]
    report: Callable[[bool, str], None]
    namespace: Callable[[], str] = lambda: "index"
    lifetime: Callable[[], float] = lambda: math.inf
    rely: Callable[[], None] = lambda: None
    _away_until: float = field(default=float("-inf"), init=False)
    _known_of: str | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)

    async def known(self, message_ids: Sequence[str]) -> Known:
        """Those of the ids that were settled a short time before."""
        found = await self._known(message_ids)
        if found.memory or found.store:
            self.rely()
        return found

    async def _known(self, message_ids: Sequence[str]) -> Known:
        current = self.namespace()
        if self._known_of not in (None, current):
            self.recent.clear()
        self._known_of = current
        if not current:
            return Known()
        self.recent.expire(self.clock(), self.lifetime())
        memory = frozenset(message_id for message_id in message_ids if message_id in self.recent)
        unknown = [message_id for message_id in message_ids if message_id not in memory]
        if not unknown or self.store is None or self.clock() < self._away_until:
            return Known(memory, namespace=current)
        try:
            stored = await self.store.seen(unknown)
        except Unavailable as error:
            self._failed(error)
            return Known(memory, namespace=current)
        if not self._failing:
            self.report(True, "")
        return Known(memory, frozenset(stored), current)

    async def mark(self, message_ids: Sequence[str], namespace: str) -> None:
        """Remember ids that Elasticsearch or the dead-letter topic settled just now.

        Not when the index was replaced since, as it may lack their documents.
        """
        if not namespace or namespace != self.namespace():
            return
        self.recent.expire(self.clock(), self.lifetime())
        self.recent.add(message_ids)
        if not message_ids or self.store is None or self.clock() < self._away_until:
            return
        try:
            await self.store.mark(message_ids)
        except Unavailable as error:
            self._failed(error)
        else:
            self._failing = False
            self.report(True, "")

    def _failed(self, error: Unavailable) -> None:
        self._failing = True
        self._away_until = self.clock() + self.retry_interval
        self.report(False, str(error))
