"""`activity-indexer reindex`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress as ProgressBar

from activity_common.exit_codes import Exit
from activity_indexer.adapters.elasticsearch.index_versions import IndexVersions
from activity_indexer.adapters.kafka.topic_reader import TopicReader
from activity_indexer.cli.common import quiet_logging, read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.cli.progress import progress_bar, waiting
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import ActivityIndexerError, Refused
from activity_indexer.reindex.fill import reported
from activity_indexer.reindex.run import FROM_AUDIT, FROM_TOPIC, Notify, Reindex, Result, Wishes
from activity_indexer.settings import Settings

EPILOG = epilog(
    "reindex --from audit",
    "reindex --from topic --drop-old",
    "reindex --from audit --json | tail -n 1",
    codes={
        Exit.DONE: "done: the alias stands for the new index",
        Exit.FAILED: "failed: a server is unavailable, or refuses; run it again to go on",
        Exit.REFUSED: "refused: documents would be lost, another reindex is at work, or there is no index",
        Exit.INTERRUPTED: "interrupted: run it again to go on",
    },
)

PROGRESS_EVERY = 1.0
"""Least time between two lines of progress with --json (seconds)."""


@click.command("reindex", epilog=EPILOG)
@click.option(
    "--from",
    "source",
    type=click.Choice([FROM_AUDIT, FROM_TOPIC]),
    required=True,
    help="Where the documents come from: the audit, or the topic from its earliest event.",
)
@click.option("--keep-old/--drop-old", default=True, show_default=True, help="What becomes of the old index.")
@click.option("--accept-loss", is_flag=True, help="Move the alias though the new index lacks documents of the old one.")
@click.option("--from-scratch", is_flag=True, help="Start from scratch instead of continuing a half-built index.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line: progress, then a result.")
def command(*, source: str, keep_old: bool, accept_loss: bool, from_scratch: bool, as_json: bool) -> None:
    """Build the index again, with the present mapping, and move the alias to it.

    Indexers go on meanwhile, and no search misses a document. Before the move both indexes are compared: when the new
    one lacks anything that searches find in the old one, the alias stays where it is.
    """
    settings = read_settings()
    quiet_logging(settings)
    if source == FROM_AUDIT and not settings.consumer.enable_audit_db:
        click.echo("CONSUMER_ENABLE_AUDIT_DB is off: there is no audit; use --from topic", err=True)
        sys.exit(Exit.REFUSED)
    wishes = Wishes(source, accept_loss=accept_loss, drop_old=not keep_old, from_scratch=from_scratch)
    sys.exit(asyncio.run(_command(settings, wishes, as_json=as_json)))


async def _command(settings: Settings, wishes: Wishes, *, as_json: bool) -> Exit:
    started, result, code = time.monotonic(), Result(), Exit.FAILED
    message = ""
    try:
        async with AsyncExitStack() as stack:
            bar = stack.enter_context(progress_bar("", show=not as_json and sys.stderr.isatty()))
            reindex = await _prepared(stack, settings, wishes, _teller(bar, as_json=as_json), bar)
            result = reindex.result
            _on_signals(reindex)
            await reindex.run()
        code = Exit.DONE if result.moved else Exit.REFUSED
    except asyncio.CancelledError:
        code, message = Exit.INTERRUPTED, "interrupted: run it again to go on"
    except Refused as error:
        code, message = Exit.REFUSED if not result.new else Exit.FAILED, str(error)
    except ActivityIndexerError as error:
        message = str(error)
    _notify(result, code, message or _conclusion(result, wishes), time.monotonic() - started, as_json=as_json)
    return code


async def _prepared(
    stack: AsyncExitStack, settings: Settings, wishes: Wishes, notify: Notify, bar: ProgressBar
) -> Reindex:
    names = [name.strip() for name in settings.consumer.enrichments.split(",") if name.strip()]
    registry = load_enrichments(names)
    versions = await stack.enter_async_context(IndexVersions.open(settings.elasticsearch, registry.properties))
    topic = await stack.enter_async_context(TopicReader.open(settings.kafka))
    return Reindex(settings, wishes, versions, topic, registry, notify, waiting(bar))


def _on_signals(reindex: Reindex) -> None:
    """SIGINT and SIGTERM interrupt it, but for the move: that is short, and half of it would leave searches behind."""
    task = asyncio.current_task()

    def interrupt() -> None:
        if task is not None and not reindex.moving:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, interrupt)


def _teller(bar: ProgressBar, *, as_json: bool) -> Notify:
    tasks: dict[str, Any] = {}
    last = 0.0

    def notify(phase: str, done: int, total: int | None) -> None:
        nonlocal last
        if phase not in tasks:
            tasks[phase] = bar.add_task(phase, total=total)
            last = 0.0
        bar.update(tasks[phase], completed=done, total=None if total is None else max(total, done))
        if as_json and time.monotonic() - last >= PROGRESS_EVERY:
            last = time.monotonic()
            click.echo(json.dumps({"kind": "progress", "phase": phase, "done": done, "total": total}))

    return notify


def _conclusion(result: Result, wishes: Wishes) -> str:
    if result.lost.count and not result.moved:
        return (
            f"{result.lost.count} documents of {result.old} are not in {result.new}, or older there, such as "
            f"{', '.join(result.lost.examples)}: the alias stays; look at them, then run it again with --accept-loss, "
            "or from the other source"
        )
    kept = "is deleted" if wishes.drop_old else "is kept: delete it when you are content"
    return f"the alias stands for {result.new} now, with {result.documents} documents; {result.old} {kept}"


def _notify(result: Result, code: Exit, message: str, seconds: float, *, as_json: bool) -> None:
    if not as_json:
        if result.counts.refused:
            reasons = "; ".join(f"{reason} ({count})" for reason, count in result.counts.reasons.most_common(3))
            message += f"\n{result.counts.refused} documents were refused by Elasticsearch: {reasons}"
        Console(stderr=code is not Exit.DONE, soft_wrap=True).print(message, markup=False, highlight=False)
        return
    words = {Exit.DONE: "done", Exit.REFUSED: "refused", Exit.INTERRUPTED: "interrupted"}
    line = {
        "kind": "result",
        "outcome": words.get(code, "failed"),
        "old": result.old,
        "new": result.new,
        "resumed": result.resumed,
        "documents": result.documents,
        **reported(result.counts),
        "lost": result.lost.count,
        "lostExamples": result.lost.examples,
        "movingSeconds": round(result.moving, 3),
        "seconds": round(seconds, 3),
        "message": message,
    }
    click.echo(json.dumps(line))
