"""What a run came to: a readable table, a JSON object for programs."""

from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activity_loadgen.publish import PublishCounts
from activity_loadgen.run import Outcome
from activity_loadgen.verify import VerifyReport

SHOWN_FINDINGS: Final = 10
DELIVERIES: Final = ("duplicate", "late")
KINDS: Final = ("created", "updated", "deleted", "invalid")
PROBLEMS: Final = ("missing", "stale", "different", "extra")
THINGS: Final = ("document", "tombstone", "dead letter")


def print_outcome(console: Console, outcome: Outcome, ledger: Path | None) -> None:
    """Print the summary of a run, and of its verification."""
    table = _table(f"Published by {outcome.run}")
    for name, value in _published(outcome.counts).items():
        table.add_row(name, f"{value:,}")
    table.add_row("seconds", f"{outcome.counts.seconds:.1f}")
    table.add_row("events per second", f"{outcome.counts.rate:,.0f}")
    table.add_row("seed", str(outcome.seed))
    if ledger is not None:
        table.add_row("ledger", str(ledger))
    console.print(table)
    if outcome.report is not None:
        print_report(console, outcome.report)


def print_report(console: Console, report: VerifyReport) -> None:
    """Print what verifying found."""
    table = Table(title="Verified", title_justify="left")
    table.add_column("")
    for heading in ("expected", *PROBLEMS):
        table.add_column(heading, justify="right")
    totals = (report.documents, report.tombstones, report.dead_letters)
    for thing, total in zip(THINGS, totals, strict=True):
        counts = [f"{report.counts.get((problem, thing), 0):,}" for problem in PROBLEMS]
        table.add_row(f"{thing}s", f"{total:,}", *counts)
    console.print(table)
    for line in _remarks(report):
        console.print(Text(line), soft_wrap=True)


def outcome_json(outcome: Outcome, ledger: Path | None) -> bytes:
    """The run as one JSON object in a line."""
    counts = outcome.counts
    reported: dict[str, Any] = {
        "run": outcome.run,
        "seed": outcome.seed,
        "ledger": None if ledger is None else str(ledger),
        "published": {name.replace(" ", "_"): value for name, value in _published(counts).items()},
        "seconds": round(counts.seconds, 3),
        "events_per_second": round(counts.rate, 1),
        "verified": None if outcome.report is None else _stated(outcome.report),
    }
    return msgspec.json.encode(reported)


def report_json(report: VerifyReport) -> bytes:
    """A verification as one JSON object in a line."""
    return msgspec.json.encode(_stated(report))


def _published(counts: PublishCounts) -> dict[str, int]:
    kinds = counts.kinds
    reported = {"transactions": counts.transactions, "events": counts.acknowledged}
    for kind in KINDS:
        reported[kind] = sum(kinds[kind, delivery] for delivery in ("normal", "late"))
    for delivery in DELIVERIES:
        reported[delivery] = sum(kinds[kind, delivery] for kind in KINDS)
    return {**reported, "failed": counts.failed, "bytes": counts.bytes}


def _remarks(report: VerifyReport) -> list[str]:
    lines = [f"{found.problem} {found.what} {found.id}: {found.detail}" for found in report.findings[:SHOWN_FINDINGS]]
    more = sum(report.counts.values()) - len(lines)
    if more > 0:
        lines.append(f"… and {more:,} more (--json lists them)")
    if report.bodies_gone:
        gone = f"{report.bodies_gone:,} events are no longer in the topic, so their documents' fields"
        lines.append(f"{gone} were not compared; --no-compare-fields accepts that")
    if report.latency is not None:
        times = (
            f"p50 {report.latency.p50:.2f} s, p99 {report.latency.p99:.2f} s, longest {report.latency.longest:.2f} s"
        )
        lines.append(f"from acknowledged to searchable: {times}")
    verdict = "everything acknowledged is as it must be" if report.ok else "not everything is as it must be"
    return [*lines, f"{verdict} ({report.seconds:.1f} s)"]


def _stated(report: VerifyReport) -> dict[str, Any]:
    problems = {problem: {} for problem in PROBLEMS}  # type: dict[str, dict[str, int]]
    for (problem, what), number in report.counts.items():
        problems[problem][what.replace(" ", "_") + "s"] = number
    return {
        "ok": report.ok,
        "documents": report.documents,
        "tombstones": report.tombstones,
        "dead_letters": report.dead_letters,
        "fields_compared": report.bodies_compared,
        "events_gone": report.bodies_gone,
        **problems,
        "findings": report.findings,
        "latency_seconds": report.latency,
        "seconds": round(report.seconds, 3),
    }


def _table(title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    return table
