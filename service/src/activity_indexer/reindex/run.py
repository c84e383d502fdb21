"""One rebuild: fill, catch up, verify, and move the alias in two atomic steps.

First the writes turn to the new version while searches still see the old one, as it is. What had been written to the
old one until then is in the topic before the offsets that are noted now; when it is read up to these, the new version
lacks nothing, and the searches turn to it. So a search never misses a document; new events appear later by the time
between the two steps.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from activity_indexer.adapters.elasticsearch.index_reader import IndexReader
from activity_indexer.adapters.elasticsearch.index_versions import Found, IndexVersions, State
from activity_indexer.adapters.elasticsearch.index_writer import NamedIndex
from activity_indexer.adapters.kafka.topic_reader import TopicReader
from activity_indexer.adapters.postgres.audit_reader import AuditReader
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.ports import Enricher
from activity_indexer.reindex.fill import Counts, Filler, behind
from activity_indexer.reindex.verify import Lost, find_lost
from activity_indexer.rewrite.writer import Rewriter
from activity_indexer.settings import Settings

BEAT: Final = 2.0
"""Time between two signs of life (seconds)."""

SILENCE: Final = 7.0
"""Silence after which a builder is taken for dead (seconds)."""

CLOSE_ENOUGH: Final = 500
"""Events behind at which the move begins."""

ROUNDS: Final = 20
"""Catch-ups at most before the move begins though the topic is ahead."""

FROM_AUDIT: Final = "audit"
FROM_TOPIC: Final = "topic"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the rebuild was asked for."""

    source: str
    accept_loss: bool = False
    drop_old: bool = False
    from_scratch: bool = False


@dataclass(slots=True)
class Result:
    """What became of it; `moving` is the time between the two steps of the move (seconds)."""

    old: str = ""
    new: str = ""
    resumed: bool = False
    counts: Counts = field(default_factory=Counts)
    lost: Lost = field(default_factory=Lost)
    documents: int = 0
    moved: bool = False
    moving: float = 0.0


Notify = Callable[[str, int, int | None], None]
"""Phase, how many are done, and how many there are (None: not known)."""


class Reindex:
    """Raises Unavailable and Refused. Cancelled before the move, it can be gone on with; not to be cancelled in it."""

    def __init__(
        self,
        settings: Settings,
        wishes: Wishes,
        versions: IndexVersions,
        topic: TopicReader,
        enricher: Enricher,
        notify: Notify,
        notify_waiting: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._wishes = wishes
        self._versions = versions
        self._topic = topic
        self._enricher = enricher
        self._notify = notify
        self._notify_waiting = notify_waiting
        self.result = Result()
        self.moving = False

    async def run(self) -> Result:
        """All of it. When documents would be lost, it ends before the move."""
        result = self.result
        found = await self._taken_over()
        result.old = await self._versions.searched()
        state = found.state if found else await self._first_state()
        state = replace(state, owner=uuid.uuid4().hex)
        result.new = found.index if found else await self._versions.create(state)
        result.resumed = found is not None
        target = NamedIndex(self._settings.elasticsearch, result.new)
        try:
            rewriter = Rewriter(target, self._enricher, self._settings.consumer, self._notify_waiting)
            filler = Filler(rewriter, self._topic, state, self._settings.consumer.max_clock_skew, lambda _: None)
            result.counts = filler.counts
            await self._build(filler, turned=found is not None and found.written)
        finally:
            await target.close()
        return result

    async def _build(self, filler: Filler, *, turned: bool) -> None:
        async with self._alive(filler):
            if not turned:
                await self._fill(filler)
                await self._catch_up(filler)
                await self._versions.make_searchable(self.result.new)
                await self._verify(filler)
                if self.result.lost.count and not self._wishes.accept_loss:
                    return
                await self._catch_up(filler)
            await self._move(filler)
        if self._wishes.drop_old:
            await self._versions.discard(self.result.old)

    async def _taken_over(self) -> Found | None:
        """The index that an earlier run left, if it is to be gone on with."""
        found = await self._versions.building()
        if found is None:
            return None
        await self._not_being_built(found)
        if found.older and found.written:
            raise Refused(
                f"an older release has begun to move the alias to {found.index}: finish that with its own reindex first"
            )
        other = found.state.source != self._wishes.source
        if found.written or not (other or found.older or self._wishes.from_scratch):
            return found
        await self._versions.discard(found.index)
        return None

    async def _not_being_built(self, found: Found) -> None:
        if not found.state.owner:
            return
        await asyncio.sleep(SILENCE)
        again = await self._versions.building()
        if again and (again.state.beats, again.state.owner) != (found.state.beats, found.state.owner):
            raise Refused(f"another reindex is building {again.index} now: wait for it")

    async def _first_state(self) -> State:
        """From the audit: all that its database says it has read is in it; what comes after is read from the topic."""
        if self._wishes.source == FROM_TOPIC:
            return State(FROM_TOPIC, filled=True)
        audit = AuditReader(self._settings.database, self._settings.pipeline)
        try:
            return State(FROM_AUDIT, await audit.offsets())
        finally:
            await audit.close()

    @asynccontextmanager
    async def _alive(self, filler: Filler) -> AsyncIterator[None]:
        """Saves the state now and then; at the end the index is left to the next run."""
        beating = asyncio.create_task(self._beat(filler))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})
            with suppress(Unavailable, Refused, TimeoutError):
                async with asyncio.timeout(SILENCE):
                    await self._versions.save(self.result.new, replace(filler.state, owner=""))

    async def _beat(self, filler: Filler) -> None:
        while True:
            filler.state = replace(filler.state, beats=filler.state.beats + 1)
            with suppress(Exception):  # the writes report what is wrong, and wait for it
                await self._versions.save(self.result.new, filler.state)
            await asyncio.sleep(BEAT)

    async def _fill(self, filler: Filler) -> None:
        if filler.state.filled:
            return
        audit, old = AuditReader(self._settings.database, self._settings.pipeline), await self._old_index()
        try:
            total = await audit.estimate()
            filler.notify = lambda done: self._notify("fill from the audit", done, total)
            await filler.from_audit(audit, old)
        finally:
            await audit.close()
            await old.close()

    async def _catch_up(self, filler: Filler, close_enough: int = CLOSE_ENOUGH) -> None:
        """Read what the topic has more, until little is left."""
        for _ in range(ROUNDS):
            ends = await self._topic.ends()
            left = behind(filler.state, ends, await self._topic.beginnings())
            before = filler.counts.read
            filler.notify = self._reading(before, left)
            await filler.from_topic(ends)
            if left <= close_enough:
                return

    def _reading(self, before: int, left: int) -> Callable[[int], None]:
        return lambda done: self._notify("read the topic", done - before, left)

    async def _old_index(self) -> IndexReader:
        older = await self._versions.is_of_older_scale(self.result.old)
        return IndexReader(self._settings.elasticsearch, self.result.old, older=older)

    async def _verify(self, filler: Filler) -> None:
        old = await self._old_index()
        new = IndexReader(self._settings.elasticsearch, self.result.new)
        total = await self._versions.count(self.result.old)

        async def catch_up() -> None:
            await filler.from_topic(await self._topic.ends())

        try:
            self.result.lost = await find_lost(old, new, catch_up, lambda done: self._notify("verify", done, total))
        finally:
            await old.close()
            await new.close()

    async def _move(self, filler: Filler) -> None:
        self.moving = True
        started = time.monotonic()
        old, new = self.result.old, self.result.new
        self._notify("move the alias", 0, None)
        await self._versions.turn_writes(old, new)
        await self._read_to_the_end(filler)
        await self._versions.refresh(new)
        await self._versions.turn_searches(old, new)
        self.result.moving = time.monotonic() - started
        self.result.documents = await self._versions.count(new)
        self.result.moved = True

    async def _read_to_the_end(self, filler: Filler) -> None:
        """In the move there is no way back: Kafka is waited for."""
        while True:
            try:
                await filler.from_topic(await self._topic.ends())
            except Unavailable as error:
                self._notify_waiting(f"waiting for Kafka: {error}")
                await asyncio.sleep(1.0)
            else:
                return
