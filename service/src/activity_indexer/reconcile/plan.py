"""What a repair is going to do, and whether it may."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.adapters.postgres.audit_reader import Extent
from activity_indexer.document import order_of
from activity_indexer.event import UNKNOWN_POSITION
from activity_indexer.reconcile.compare import REPAIRABLE, Difference, Kind

EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """How many documents a repair may change: a number, or a share of those compared, but at least `least`."""

    number: int = 0
    share: float = 0.0
    least: int = 0

    @classmethod
    def read(cls, text: str) -> Self:
        """A number such as 500, or a share such as 20%. Raises ValueError."""
        if match := re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", text.strip()):
            return cls(share=float(match[1]) / 100)
        return cls(number=int(text))

    def of(self, compared: int) -> int:
        """The number of documents."""
        return max(self.least, self.number, int(self.share * compared))


DEFAULT_LIMIT: Final = Limit(share=0.1, least=100)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written and deleted; `uncovered` are documents whose events the audit never read.

    Such a document is proof that the audit lacks history: nothing is extra because the audit does not know it.
    """

    write: Sequence[Difference]
    delete: Sequence[Difference]
    uncovered: Sequence[str] = ()

    @property
    def changes(self) -> int:
        """Documents that are changed."""
        return len(self.write) + len(self.delete)

    def problem(self, limit: int) -> str | None:
        """Why the plan may not be carried out as it is."""
        if self.changes > limit:
            return (
                f"nothing was changed: a repair would change {self.changes:,} documents, and the limit is {limit:,}. "
                "Look at the differences, then raise --limit, or build the index again (activity-indexer reindex)"
            )
        return None

    @property
    def lacking(self) -> str | None:
        """Why nothing is deleted, if that was asked for."""
        if not self.uncovered:
            return None
        examples = ", ".join(sorted(self.uncovered)[:EXAMPLES])
        return (
            f"nothing is deleted: the audit has never read the events of {len(self.uncovered):,} documents that it "
            f"does not know, such as {examples}: its history is not complete"
        )


def make_plan(
    differences: Sequence[Difference],
    stored: Mapping[str, Stored],
    read: Mapping[int, Extent],
    *,
    delete_extra: bool,
) -> Plan:
    """What to do about the differences. `stored` are the extra documents, `read` is what the audit has read."""
    write = [each for each in differences if each.kind in REPAIRABLE]
    extra = [each for each in differences if each.kind is Kind.EXTRA] if delete_extra else []
    uncovered = [each.id for each in extra if each.id in stored and not _covered(stored[each.id], read)]
    return Plan(write, [] if uncovered else extra, tuple(uncovered))


def _covered(document: Stored, read: Mapping[int, Extent]) -> bool:
    """Whether the audit has read what wrote the document; true of what no event wrote."""
    order = order_of(document.source)
    if order is None or order.position == UNKNOWN_POSITION:
        return True
    extent = read.get(order.position.partition)
    return extent is not None and extent.covers(order.position.offset)
