"""Separates what is in flight from what differs: indexer and audit must have passed what was there before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.adapters.kafka.topic_reader import Offsets, passed
from activity_indexer.adapters.postgres.audit_reader import Kept
from activity_indexer.reconcile.compare import Difference, difference

ROUNDS: Final = 3
"""How often a transaction that keeps changing is looked at again."""

LOOK_AGAIN: Final = 0.5
"""How often the groups are asked how far they are (seconds)."""


class Audit(Protocol):
    """adapters.audit_reader.AuditReader, as far as it is needed here."""

    async def these(self, ids: Sequence[str]) -> dict[str, Kept]: ...  # noqa: D102
    async def rejected(self, ids: Sequence[str]) -> dict[str, Kept]: ...  # noqa: D102
    async def offsets(self) -> Offsets: ...  # noqa: D102


class Index(Protocol):
    """adapters.index_reader.IndexReader, as far as it is needed here."""

    async def these(self, ids: Sequence[str]) -> dict[str, Stored]: ...  # noqa: D102


class Topic(Protocol):
    """adapters.topic_reader.TopicReader, as far as it is needed here."""

    async def ends(self) -> Offsets: ...  # noqa: D102
    async def committed(self, group: str) -> Offsets: ...  # noqa: D102


@dataclass(slots=True)
class Settler:
    """Confirms differences.

    A difference that is seen again unchanged, after indexer and audit have passed all that the topic had when it was
    seen first, is none of time: neither has anything left that would correct it. How far the audit is, its database
    says: one that was restored from an older backup is behind, whatever its group has committed. `timeout` (seconds)
    bounds the wait; what does not move is waited for once.
    """

    audit: Audit
    index: Index
    topic: Topic
    group: str
    timeout: float
    in_flight: int = 0
    stuck: bool = field(default=False, init=False)

    async def confirmed(self, candidates: Sequence[Difference]) -> list[Difference]:
        """Those of the candidates that are differences; what cannot be decided yet is counted in `in_flight`."""
        found: list[Difference] = []
        left = await self.again(candidates)
        for _ in range(ROUNDS):
            if not left:
                return found
            settled = await self._passed(await self.topic.ends())
            fresh = await self.again(left)
            if not settled:
                left = fresh
                break
            before = set(left)
            found += [each for each in fresh if each in before]
            left = [each for each in fresh if each not in before]
        self.in_flight += len(left)
        return found

    async def again(self, candidates: Sequence[Difference]) -> list[Difference]:
        """How these transactions differ now."""
        ids = [each.id for each in candidates]
        kept, stored = await self.audit.these(ids), await self.index.these(ids)
        for key, rejected in (await self.audit.rejected(ids)).items() if ids else ():
            if key not in kept or kept[key].order < rejected.order:  # the indexer takes what PostgreSQL refuses
                kept[key] = replace(rejected, user_id=kept[key].user_id if key in kept else "")
        return [found for key in ids if (found := difference(kept.get(key), stored.get(key)))]

    async def _passed(self, marks: Offsets) -> bool:
        deadline = time.monotonic() + self.timeout
        while not await self._all_passed(marks):
            if self.stuck or time.monotonic() > deadline:
                self.stuck = True
                return False
            await asyncio.sleep(LOOK_AGAIN)
        return True

    async def _all_passed(self, marks: Offsets) -> bool:
        return passed(await self.topic.committed(self.group), marks) and passed(await self.audit.offsets(), marks)
