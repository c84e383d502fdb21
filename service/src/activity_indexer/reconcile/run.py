"""One comparison of index and audit, from the first id to the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from activity_indexer.adapters.elasticsearch.index_reader import IndexReader
from activity_indexer.adapters.postgres.audit_reader import AuditReader
from activity_indexer.reconcile.compare import Difference, Kind, difference
from activity_indexer.reconcile.settle import Settler
from activity_indexer.rewrite.merge import merge_join

CHUNK: Final = 500
"""Candidates that are looked at again together."""

REPORT_EVERY: Final = 1000
"""Transactions between two reports of progress."""

EXAMPLES: Final = 3
"""Ids of each kind that the summary shows."""


@dataclass(slots=True)
class Tally:
    """What was found so far. `strays` are documents that do not carry their own id: nothing of ours wrote them."""

    compared: int = 0
    found: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    in_flight: int = 0
    strays: int = 0

    def add(self, differences: Sequence[Difference]) -> None:
        """Count differences."""
        for each in differences:
            self.found[each.kind] += 1
            shown = self.examples.setdefault(each.kind, [])
            if len(shown) < EXAMPLES:
                shown.append(each.id)

    @property
    def differences(self) -> int:
        """All that was found."""
        return self.found.total() + self.strays


async def compare(
    audit: AuditReader, index: IndexReader, settler: Settler, tally: Tally
) -> AsyncIterator[Sequence[Difference]]:
    """Confirmed differences, some at a time; an empty turn only reports progress, which `tally` holds.

    Raises Unavailable, Refused or OutOfOrder.
    """
    candidates: list[Difference] = []
    async for kept, stored in merge_join(audit.states(), index.documents(), ("PostgreSQL", "Elasticsearch")):
        tally.compared += 1
        if found := difference(kept, stored):
            candidates.append(found)
        if len(candidates) == CHUNK:
            yield await _confirmed(candidates, settler, tally)
            candidates = []
        elif tally.compared % REPORT_EVERY == 0:
            yield ()
    tally.strays = index.strays
    yield await _confirmed(candidates, settler, tally)


async def _confirmed(candidates: Sequence[Difference], settler: Settler, tally: Tally) -> Sequence[Difference]:
    differences = await settler.confirmed(candidates)
    tally.in_flight = settler.in_flight
    tally.add(differences)
    return differences


def kinds() -> list[Kind]:
    """All kinds, in the order of a report."""
    return list(Kind)
