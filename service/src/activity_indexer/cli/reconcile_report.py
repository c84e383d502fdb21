"""What `reconcile` reports at its end: a table, or a JSON object for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from activity_indexer.reconcile.repair import DONE, LEFT, REFUSED, SUPERSEDED
from activity_indexer.reconcile.run import Tally, kinds

Repairs = Counter[tuple[str, str]]
OUTCOMES = (DONE, SUPERSEDED, REFUSED, LEFT)
REASONS = 5
"""Reasons of refusals that are shown."""


def summary(tally: Tally, repairs: Repairs, reasons: Counter[str]) -> dict[str, Any]:
    """The last line of --json."""
    return {
        "kind": "summary",
        "compared": tally.compared,
        "differences": {kind.value: tally.found[kind] for kind in kinds()} | {"stray": tally.strays},
        "inFlight": tally.in_flight,
        "repairs": {outcome: _total(repairs, outcome) for outcome in OUTCOMES},
        "refusals": dict(reasons.most_common(REASONS)),
        "examples": tally.examples,
    }


def summary_table(tally: Tally, repairs: Repairs, reasons: Counter[str], *, repair: bool) -> RenderableType:
    """Counts and first examples, within 80 columns."""
    table = Table("", "Found", *(["Repaired"] if repair else []), "First examples", title="Index against audit")
    for kind in kinds():
        fixed = repairs[kind, DONE] + repairs[kind, SUPERSEDED]
        examples = ", ".join(tally.examples.get(kind, ()))
        table.add_row(kind.value, f"{tally.found[kind]:,}", *([f"{fixed:,}"] if repair else []), Text(examples))
    return Group(table, *(Text(line) for line in _remarks(tally, reasons)))


def _remarks(tally: Tally, reasons: Counter[str]) -> Iterator[str]:
    yield f"{tally.compared:,} transactions compared."
    if tally.in_flight:
        yield f"{tally.in_flight:,} differ, but are in flight: run again when indexer and audit have caught up."
    if tally.strays:
        yield f"{tally.strays:,} documents do not carry their own id: nothing of ours wrote them."
    for reason, count in reasons.most_common(REASONS):
        yield f"{count:,} refused: {reason}"


def _total(repairs: Repairs, outcome: str) -> int:
    return sum(count for (_, found), count in repairs.items() if found == outcome)
