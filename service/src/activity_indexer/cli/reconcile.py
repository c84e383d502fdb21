"""`activity-indexer reconcile`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress as ProgressBar

from activity_indexer.adapters.audit_reader import AuditReader
from activity_indexer.adapters.elasticsearch_client import connect
from activity_indexer.adapters.index_reader import IndexReader, write_index
from activity_indexer.adapters.index_writer import NamedIndex
from activity_indexer.adapters.topic_reader import TopicReader
from activity_indexer.cli.common import Duration, Exit, failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.cli.progress import progress_bar, waiting
from activity_indexer.cli.reconcile_report import summary, summary_table
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import Refused
from activity_indexer.reconcile.compare import Difference
from activity_indexer.reconcile.repair import DONE, SUPERSEDED, Repair, Repairer
from activity_indexer.reconcile.run import Tally, compare
from activity_indexer.reconcile.settle import Settler
from activity_indexer.reindex.writer import Rewriter
from activity_indexer.settings import Settings

EPILOG = epilog(
    "reconcile",
    "reconcile --repair",
    "reconcile --json | jq -r 'select(.kind == \"missing\").id'",
    "reconcile --output differences.jsonl",
    codes={
        Exit.DONE: "no differences, or all of them repaired",
        Exit.REFUSED: "refused: the audit is switched off, or the alias is absent",
        Exit.DIFFERENT: "there are differences, or some could not be repaired",
    },
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked for; `settle_timeout` is in seconds."""

    repair: bool
    delete_extra: bool
    settle_timeout: float
    as_json: bool
    output: Path | None


@dataclass(slots=True)
class Run:
    """What one run found, and what it mended, by (kind, outcome)."""

    tally: Tally = field(default_factory=Tally)
    repairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, differences: Sequence[Difference], repairs: Sequence[Repair]) -> None:
        """Count repairs."""
        for each, repair in zip(differences, repairs, strict=True):
            self.repairs[each.kind, repair.outcome] += 1
            if repair.reason:
                self.reasons[repair.reason] += 1

    @property
    def mended(self) -> int:
        """Differences that are none any more."""
        return sum(count for (_, outcome), count in self.repairs.items() if outcome in {DONE, SUPERSEDED})


@click.command("reconcile", epilog=EPILOG)
@click.option("--repair", is_flag=True, help="Index what is missing, older or different anew, from the audit.")
@click.option("--delete-extra", is_flag=True, help="With --repair: delete documents that the audit does not know.")
@click.option(
    "--settle-timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait for indexer and audit to pass what was in flight.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line: each difference, then a summary.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write those lines to this file too.")
def command(**given: Any) -> None:
    """Compare the index with the audit, and repair it.

    Both are read in the order of ids, in bounded memory, beside running indexers. What is in flight is no difference:
    each one is looked at again when indexer and audit have passed all that the topic had by then.
    """
    options = Options(**given)
    if options.delete_extra and not options.repair:
        raise click.UsageError("--delete-extra goes with --repair")
    settings = read_settings()
    quiet_logging(settings)
    if not settings.consumer.enable_audit_db:
        click.echo("CONSUMER_ENABLE_AUDIT_DB is off: without an audit there is nothing to compare with", err=True)
        sys.exit(Exit.REFUSED)
    run = Run()
    with failing_clearly():
        asyncio.run(_reconcile(settings, options, run))
    _tell(run, options)
    sys.exit(Exit.DONE if run.tally.differences == run.mended else Exit.DIFFERENT)


def _tell(run: Run, options: Options) -> None:
    line = json.dumps(summary(run.tally, run.repairs, run.reasons))
    if options.output:
        with options.output.open("a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")
    if options.as_json:
        click.echo(line)
    else:
        Console().print(summary_table(run.tally, run.repairs, run.reasons, repair=options.repair))


async def _reconcile(settings: Settings, options: Options, run: Run) -> None:
    show = not options.as_json and sys.stderr.isatty()
    async with AsyncExitStack() as stack:
        bar = stack.enter_context(progress_bar("transactions", show=show))
        output = stack.enter_context(options.output.open("w", encoding="utf-8")) if options.output else None
        audit, index, settler = await _readers(stack, settings, options)
        repairer = await stack.enter_async_context(_repairer(settings, audit, index, options, bar))
        task = bar.add_task("compare", total=await audit.estimate() or None)
        async for differences in compare(audit, index, settler, run.tally):
            bar.update(task, completed=run.tally.compared)
            repairs = await repairer.repair(differences) if repairer and differences else None
            if repairs is not None:
                run.add(differences, repairs)
            _write(differences, repairs, output, as_json=options.as_json)


async def _readers(
    stack: AsyncExitStack, settings: Settings, options: Options
) -> tuple[AuditReader, IndexReader, Settler]:
    async with connect(settings.elasticsearch) as client:
        try:
            name = await write_index(client, settings.elasticsearch.index)
        except Refused as error:
            click.echo(str(error), err=True)
            sys.exit(Exit.REFUSED)
    audit, index = AuditReader(settings.database), IndexReader(settings.elasticsearch, name)
    stack.push_async_callback(audit.close)
    stack.push_async_callback(index.close)
    topic = await stack.enter_async_context(TopicReader.open(settings.kafka))
    groups = settings.kafka.consumer_group, settings.kafka.audit_group
    return audit, index, Settler(audit, index, topic, groups, options.settle_timeout)


@asynccontextmanager
async def _repairer(
    settings: Settings, audit: AuditReader, index: IndexReader, options: Options, bar: ProgressBar
) -> AsyncIterator[Repairer | None]:
    if not options.repair:
        yield None
        return
    alias = NamedIndex(settings.elasticsearch, settings.elasticsearch.index, alias=True)
    names = [name.strip() for name in settings.consumer.enrichments.split(",") if name.strip()]
    try:
        rewriter = Rewriter(alias, load_enrichments(names), settings.consumer, waiting(bar))
        yield Repairer(audit, index, rewriter, alias, delete_extra=options.delete_extra)
    finally:
        await alias.close()


def _write(
    differences: Sequence[Difference], repairs: Sequence[Repair] | None, output: TextIO | None, *, as_json: bool
) -> None:
    for at, each in enumerate(differences):
        told: dict[str, Any] = {
            "kind": each.kind.value,
            "id": each.id,
            "auditVersion": each.audit,
            "indexVersion": each.index,
        }
        if repairs is not None:
            told |= {"repair": repairs[at].outcome} | ({"reason": repairs[at].reason} if repairs[at].reason else {})
        line = json.dumps(told)
        if output:
            output.write(f"{line}\n")
        if as_json:
            click.echo(line)
