"""How much of a topic is read: frozen offsets, and how far a reader is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from activity_indexer.dead_letters.selection import Selection
from activity_indexer.positions import Partition


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of a partition: `start` is the first of them, `end` the first behind them."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Offsets in it: records, and places without one (compaction, ends of transactions)."""
        return max(0, self.end - self.start)


Spans = Mapping[Partition, Span]


@dataclass(frozen=True, slots=True)
class Progress:
    """`passed` of `total` offsets are behind the reader; `records` of them held a record."""

    passed: int
    total: int
    records: int


Notify = Callable[[Progress], None]


def narrowed(spans: Spans, selection: Selection) -> dict[Partition, Span]:
    """The least part of the spans that holds all that can match."""
    found: dict[Partition, Span] = {}
    for partition, span in spans.items():
        reach = selection.reach(partition.partition)
        if reach is not None:
            first, last = reach
            end = span.end if last is None else min(span.end, last + 1)
            found[partition] = Span(min(max(span.start, first), end), end)
    return found
