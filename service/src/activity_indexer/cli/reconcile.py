"""`activity-indexer reconcile`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import click
from rich.console import Console
from rich.progress import Progress as ProgressBar

from activity_common.exit_codes import Exit
from activity_indexer.adapters.elasticsearch.bulk import ElasticsearchIndex
from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.adapters.elasticsearch.index_reader import IndexReader, Stored, write_index
from activity_indexer.adapters.elasticsearch.index_writer import NamedIndex
from activity_indexer.adapters.kafka.topic_reader import TopicReader
from activity_indexer.adapters.postgres.audit_reader import AuditReader
from activity_indexer.adapters.redis.store import RedisSeenStore, seen_namespace
from activity_indexer.cli.common import Duration, failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.cli.progress import progress_bar, waiting
from activity_indexer.cli.reconcile_report import summary, summary_table
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.reconcile.compare import Difference, Kind
from activity_indexer.reconcile.plan import DEFAULT_LIMIT, Limit, Plan, make_plan
from activity_indexer.reconcile.repair import DONE, LEFT, REFUSED, SUPERSEDED, Repair, Repairer
from activity_indexer.reconcile.run import Tally, compare
from activity_indexer.reconcile.settle import Settler
from activity_indexer.rewrite.writer import Rewriter
from activity_indexer.settings import Settings

T = TypeVar("T")

EPILOG = epilog(
    "reconcile",
    "reconcile --repair",
    "reconcile --repair --yes --limit 5%",
    "reconcile --json | jq -r 'select(.kind == \"missing\").id'",
    "reconcile --output differences.jsonl",
    codes={
        Exit.DONE: "no differences, or all of them repaired",
        Exit.REFUSED: "refused: no audit of this pipeline, no index, more changes than the limit, or no confirmation",
        Exit.DIFFERENT: "there are differences, or some could not be repaired",
    },
)


CHUNK: Final = 500
"""Documents that are changed together."""


class Limits(click.ParamType[Limit]):
    """A number of documents, or a share of them."""

    name = "number or share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Limit:
        """The limit."""
        if isinstance(value, Limit):
            return value
        try:
            return Limit.read(str(value))
        except ValueError:
            self.fail(f"expected a number such as 500, or a share such as 20%, got {value!r}", param, ctx)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked for; `settle_timeout` is in seconds."""

    repair: bool
    delete_extra: bool
    limit: Limit
    yes: bool
    settle_timeout: float
    as_json: bool
    output: Path | None


class NotRepaired(Exception):
    """The plan of the repair is not carried out."""


@dataclass(slots=True)
class Run:
    """What one run found, and what it fixed, by (kind, outcome)."""

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
    def fixed(self) -> int:
        """Differences that are none any more."""
        return sum(count for (_, outcome), count in self.repairs.items() if outcome in {DONE, SUPERSEDED})


@click.command("reconcile", epilog=EPILOG)
@click.option("--repair", is_flag=True, help="Write what is missing, older or different again, from the audit.")
@click.option("--delete-extra", is_flag=True, help="With --repair: delete documents that the audit does not know.")
@click.option(
    "--limit",
    type=Limits(),
    default=DEFAULT_LIMIT,
    show_default="10%, at least 100",
    help="How many documents a repair may change: a number, or a share of those compared; above it nothing is done.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask before changing documents.")
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

    Both are read in the order of ids, beside running indexers. What is in flight is no difference: each one is looked
    at again when indexer and audit have passed all that the topic had by then. A repair shows what it will do, and
    asks.
    """
    options = Options(**given)
    if options.delete_extra and not options.repair:
        raise click.UsageError("--delete-extra goes with --repair")
    settings = read_settings()
    quiet_logging(settings)
    if not settings.consumer.enable_audit_db:
        click.echo("CONSUMER_ENABLE_AUDIT_DB is off: without an audit there is nothing to compare with", err=True)
        sys.exit(Exit.REFUSED)
    run, code = Run(), None
    with failing_clearly():
        try:
            asyncio.run(_reconcile(settings, options, run))
        except NotRepaired as problem:
            click.echo(str(problem), err=True)
            code = Exit.REFUSED
    _notify(run, options)
    sys.exit(code or (Exit.DONE if run.tally.differences == run.fixed else Exit.DIFFERENT))


def _notify(run: Run, options: Options) -> None:
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
        found: list[Difference] = []
        async for differences in compare(audit, index, settler, run.tally):
            bar.update(task, completed=run.tally.compared)
            if repairer:
                found += differences
            else:
                _write(differences, None, output, as_json=options.as_json)
        if repairer and found:
            bar.stop()
            await _repair(repairer, await _planned(audit, index, found, options), found, options, run, output)


async def _planned(audit: AuditReader, index: IndexReader, found: Sequence[Difference], options: Options) -> Plan:
    stored: dict[str, Stored] = {}
    extra = [each.id for each in found if each.kind is Kind.EXTRA] if options.delete_extra else []
    for some in _chunks(extra):
        stored |= await index.these(some)
    return make_plan(found, stored, await audit.read(), delete_extra=options.delete_extra)


async def _repair(
    repairer: Repairer,
    plan: Plan,
    found: Sequence[Difference],
    options: Options,
    run: Run,
    output: TextIO | None,
) -> None:
    try:
        await _agree(plan, options, run.tally.compared)
    except NotRepaired:
        _write(found, None, output, as_json=options.as_json)
        raise
    done: dict[Difference, Repair] = {}
    for some in _chunks(plan.write):
        done |= zip(some, await repairer.write(some), strict=True)
    for some in _chunks(plan.delete):
        done |= zip(some, await repairer.delete(some), strict=True)
    if plan.lacking:
        kept_back = Repair(REFUSED, plan.lacking)
        done |= {each: kept_back for each in found if each.kind is Kind.EXTRA}
    repairs = [done.get(each, Repair(LEFT)) for each in found]
    run.add(found, repairs)
    _write(found, repairs, output, as_json=options.as_json)


async def _agree(plan: Plan, options: Options, compared: int) -> None:
    """Show what will be done, and ask. Raises NotRepaired."""
    limit = options.limit.of(compared)
    if options.as_json:
        numbers = {"write": len(plan.write), "delete": len(plan.delete), "limit": limit, "compared": compared}
        click.echo(json.dumps({"kind": "plan", **numbers, "lackingHistory": len(plan.uncovered)}))
    else:
        click.echo(f"To be written: {len(plan.write):,} documents. To be deleted: {len(plan.delete):,}.", err=True)
    if plan.lacking and not options.as_json:
        click.echo(plan.lacking, err=True)
    if problem := plan.problem(limit):
        raise NotRepaired(problem)
    if not plan.changes or options.yes:
        return
    if not sys.stdin.isatty():
        raise NotRepaired("nothing was changed: there is no terminal to ask at, and --yes was not given")
    if not await asyncio.to_thread(click.confirm, f"Change {plan.changes:,} documents?", default=False, err=True):
        raise NotRepaired("nothing was changed")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


async def _readers(
    stack: AsyncExitStack, settings: Settings, options: Options
) -> tuple[AuditReader, IndexReader, Settler]:
    async with connect(settings.elasticsearch) as client:
        try:
            name = await write_index(client, settings.elasticsearch.index)
        except Refused as error:
            click.echo(str(error), err=True)
            sys.exit(Exit.REFUSED)
    audit, index = AuditReader(settings.database, settings.pipeline), IndexReader(settings.elasticsearch, name)
    stack.push_async_callback(audit.close)
    stack.push_async_callback(index.close)
    topic = await stack.enter_async_context(TopicReader.open(settings.kafka))
    return audit, index, Settler(audit, index, topic, settings.kafka.consumer_group, options.settle_timeout)


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
        yield Repairer(audit, index, rewriter, alias, partial(_forget, settings))
    finally:
        await alias.close()


async def _forget(settings: Settings, message_ids: Sequence[str]) -> None:
    """What was deleted may be sent again: it must not be taken for known."""
    if not message_ids or not settings.consumer.enable_dedup:
        return
    index = ElasticsearchIndex(settings.elasticsearch, {})
    store: RedisSeenStore | None = None
    try:
        await index.check()
        namespace = seen_namespace(settings.kafka.consumer_group, index.identity)
        store = RedisSeenStore(settings.redis, settings.consumer.dedup_ttl, lambda: namespace)
        await store.forget([bytes.fromhex(each) for each in message_ids])
    except (Unavailable, Refused) as error:
        seconds = settings.consumer.dedup_ttl
        click.echo(f"Redis may still know what was deleted, for at most {seconds:g} s: {error}", err=True)
    finally:
        await index.stop()
        if store is not None:
            await store.stop()


def _write(
    differences: Sequence[Difference], repairs: Sequence[Repair] | None, output: TextIO | None, *, as_json: bool
) -> None:
    for at, each in enumerate(differences):
        reported: dict[str, Any] = {
            "kind": each.kind.value,
            "id": each.id,
            "auditVersion": each.audit,
            "indexVersion": each.index,
        }
        if repairs is not None:
            reported |= {"repair": repairs[at].outcome} | ({"reason": repairs[at].reason} if repairs[at].reason else {})
        line = json.dumps(reported)
        if output:
            output.write(f"{line}\n")
        if as_json:
            click.echo(line)
