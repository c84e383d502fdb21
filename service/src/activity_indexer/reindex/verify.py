"""Makes sure before the move that the new version lacks nothing that searches find in the old one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from activity_indexer.adapters.elasticsearch.index_reader import IndexReader, Stored
from activity_indexer.document import order_of
from activity_indexer.event import base_version
from activity_indexer.rewrite.merge import merge_join

CHUNK: Final = 500
EXAMPLES: Final = 5
REPORT_EVERY: Final = 1000


@dataclass(slots=True)
class Lost:
    """Documents of the old version that the new one has not, or in an older state."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, ids: Sequence[str]) -> None:
        """Count them."""
        self.count += len(ids)
        self.examples += ids[: EXAMPLES - len(self.examples)]


async def find_lost(
    old: IndexReader, new: IndexReader, catch_up: Callable[[], Awaitable[None]], notify: Callable[[int], None]
) -> Lost:
    """Compare ids and versions of both; what may be in flight is looked at again when `catch_up` has passed it."""
    lost, candidates, compared = Lost(), list[str](), 0
    pages = old.documents(source=False), new.documents(source=False)
    async for before, after in merge_join(*pages, ("the old index", "the new index")):
        compared += 1
        if before and lacks(before, after):
            candidates.append(before.id)
        if len(candidates) == CHUNK:
            lost.add(await _again(candidates, old, new, catch_up))
            candidates = []
        if compared % REPORT_EVERY == 0:
            notify(compared)
    lost.add(await _again(candidates, old, new, catch_up))
    lost.add([each.id for each in old.stray_examples])
    lost.count += old.strays - len(old.stray_examples)
    return lost


def lacks(before: Stored, after: Stored | None) -> bool:
    """Whether what the old version has is more than what the new one has.

    Documents with one base version are looked at only where more than one event may have had it: the tie that was
    written last in one index need not have been in the other.
    """
    if after is None or base_version(after.version) < base_version(before.version):
        return True
    if base_version(after.version) > base_version(before.version) or before.version == base_version(before.version):
        return False
    if not before.source:
        return after.version != before.version
    theirs, ours = order_of(before.source), order_of(after.source)
    return theirs is not None and (ours is None or ours < theirs)


async def _again(
    candidates: Sequence[str], old: IndexReader, new: IndexReader, catch_up: Callable[[], Awaitable[None]]
) -> list[str]:
    if not candidates:
        return []
    before = await old.these(candidates)
    await catch_up()
    after = await new.these(candidates)
    return [each for each in candidates if each in before and lacks(before[each], after.get(each))]
