"""Publishes synthetic transactions, runs the indexer on them, and shows what became of each: `make demo`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from indexer import Indexer, IndexerFailed, Metrics
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from activity_loadgen.kafka import KafkaConnection
from activity_loadgen.options import LoadOptions
from activity_loadgen.publish import PublishCounts
from activity_loadgen.run import Outcome, Plan, Silent, run
from activity_loadgen.search import SearchConnection
from activity_loadgen.verify import VerifyProgress
from activity_stack import Stack

TRANSACTIONS = 1000
USER = "test_user_123"
TOPIC = "transactions"
AUDIT_TIMEOUT = 30.0
"""Time for the audit to come to the topic's end (seconds)."""

SETTINGS = {
    "KAFKA_TOPIC_PARTITIONS": "6",
    "CONSUMER_BATCH_SIZE": "100",
    "CONSUMER_BATCH_TIMEOUT": "0.2",
    "CONSUMER_HTTP_HOST": "127.0.0.1",
    "CONSUMER_HTTP_PORT": "0",
    "CONSUMER_LOG_FORMAT": "json",
}
LOAD = {
    "update_ratio": 0.1,
    "delete_ratio": 0.05,
    "duplicate_ratio": 0.03,
    "late_ratio": 0.03,
    "invalid_ratio": 0.01,
}


@dataclass
class Shown(Silent):
    """Progress bars; left out where there is no terminal."""

    progress: Progress
    tasks: dict[str, TaskID] = field(default_factory=dict)
    settled_after: float = 0.0

    def bar(self, name: str, total: float, completed: float) -> None:
        """Move a bar, which appears with its first news."""
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name)
        self.progress.update(self.tasks[name], total=total, completed=completed)

    def publishing(self, counts: PublishCounts) -> None:
        """Move the bar of published events."""
        self.bar("published", max(counts.sent, counts.acknowledged), counts.acknowledged)

    def verifying(self, progress: VerifyProgress) -> None:
        """Move the bar of searchable transactions."""
        self.bar("searchable", progress.transactions, progress.searchable)


async def main(console: Console) -> int:
    """Run the demonstration; returns the exit code."""
    stack = Stack.load()
    indexer = Indexer(stack.settings.home / "log" / "indexer.log", {**stack.environment(), **SETTINGS})
    try:
        await indexer.ready()
        console.print(f"The indexer is ready (its log: {indexer.log}). Publishing {TRANSACTIONS:,} transactions …")
        outcome, took = await _publish(stack, indexer, console)
        await _audit_done(indexer)
        metrics = await indexer.metrics()
        console.print(_table(outcome, metrics, took))
        await _show_guide_example(stack, console)
    finally:
        seconds = await indexer.stop()
        console.print(f"The indexer finished, committed and left in {seconds:.1f} s.")
    _show_how_to_go_on(stack, console)
    good = outcome.report is not None and outcome.report.ok
    console.print(
        "[green]Everything published is as it must be.[/]" if good else "[red]Something differs: see above.[/]"
    )
    return 0 if good else 1


async def _publish(stack: Stack, indexer: Indexer, console: Console) -> tuple[Outcome, float]:
    plan = Plan(
        LoadOptions(count=TRANSACTIONS, user_id=USER, **LOAD),  # type: ignore[arg-type]
        KafkaConnection(stack.addresses.kafka),
        search=SearchConnection(stack.addresses.elasticsearch, TOPIC),
    )
    columns = TextColumn("{task.description:>12}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        shown = Shown(progress)
        started = time.monotonic()
        watching = asyncio.create_task(_watch(indexer, shown, started))
        try:
            outcome = await run(plan, shown)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    return outcome, shown.settled_after


async def _watch(indexer: Indexer, shown: Shown, started: float) -> None:
    """Move the bar of settled events, and notice when the last one was."""
    settled = 0.0
    while True:
        metrics = await indexer.metrics()
        now = metrics.total("events_total")
        if now > settled:
            settled, shown.settled_after = now, time.monotonic() - started
        shown.bar("settled", metrics.total("events_consumed_total"), settled)
        await asyncio.sleep(0.1)


async def _audit_done(indexer: Indexer) -> None:
    """Wait until the audit has seen what the indexer has: it follows at its own pace."""
    deadline = time.monotonic() + AUDIT_TIMEOUT
    while time.monotonic() < deadline:
        metrics = await indexer.metrics()
        if metrics.total("audit_events_total") >= metrics.total("events_consumed_total"):
            return
        await asyncio.sleep(0.2)


def _rows(outcome: Outcome, metrics: Metrics, took: float) -> Iterator[tuple[str, str]]:
    def events(name: str) -> str:
        return f"{metrics.total('events_total', outcome=name):,.0f}"

    batches = metrics.total("batch_events_count")
    yield "published", f"{outcome.counts.acknowledged:,}"
    yield "indexed", events("indexed")
    yield "updated", events("updated")
    yield "deleted", events("deleted")
    yield "duplicates", events("duplicate")
    yield "late", events("late")
    yield "dead-lettered", events("dead_lettered")
    yield "events/s", f"{metrics.total('events_total') / took:,.0f}" if took else "-"
    yield "batches", f"{batches:,.0f}"
    if batches:
        mean = metrics.total("batch_events_sum") / batches
        yield "events in a batch, mean", f"{mean:.0f}"
    if outcome.report is not None and outcome.report.latency is not None:
        latency = outcome.report.latency
        yield "publish to searchable, p50", f"{latency.p50 * 1000:,.0f} ms"
        yield "publish to searchable, p99", f"{latency.p99 * 1000:,.0f} ms"
    if outcome.report is not None:
        problems = {name: outcome.report.count(name) for name in ("missing", "stale", "different", "extra")}
        yield "verified", ", ".join(f"{count} {name}" for name, count in problems.items())


def _table(outcome: Outcome, metrics: Metrics, took: float) -> Table:
    table = Table("what", "how many", title="From Kafka into Elasticsearch", title_justify="left")
    table.columns[1].justify = "right"
    for row in _rows(outcome, metrics, took):
        table.add_row(*row)
    return table


async def _show_guide_example(stack: Stack, console: Console) -> None:
    url = f"{stack.addresses.elasticsearch}/{TOPIC}/_search?q=user_id:{USER}&size=10"
    answer = await asyncio.to_thread(_fetch, url)
    console.print(f'\n$ curl "{url}"', highlight=False)
    console.print(f"{answer['hits']['total']['value']:,} documents of {USER}, such as:", highlight=False)
    console.print_json(json.dumps(answer["hits"]["hits"][0]["_source"], ensure_ascii=False))
    connection = await asyncpg.connect(stack.addresses.postgres)
    rows = await connection.fetchval("SELECT COUNT(*) FROM transactions")
    await connection.close()
    console.print(f'\n$ psql {stack.addresses.postgres} -c "SELECT COUNT(*) FROM transactions;"', highlight=False)
    console.print(f"{rows:,}\n", highlight=False)


def _fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a server of ours
        return json.load(answer)


def _show_how_to_go_on(stack: Stack, console: Console) -> None:
    console.print(
        f'Look further: curl "{stack.addresses.elasticsearch}/{TOPIC}/_search?q=search_content:coffee&pretty" '
        "(servers: make stack-status; README.md, “Look around”)",
        highlight=False,
        soft_wrap=True,
    )
    console.print("Stop: make stack-down (the data stays; make stack-clean removes it)", highlight=False)


if __name__ == "__main__":
    out = Console()
    try:
        code = asyncio.run(main(out))
    except IndexerFailed as error:
        out.print(f"[red]{error}[/]")
        code = 1
    sys.exit(code)
