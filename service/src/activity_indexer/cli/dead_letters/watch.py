"""`activity-indexer dead-letters watch`."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import click
from rich.console import Console

from activity_common.exit_codes import Exit
from activity_indexer.adapters.kafka.dead_letters.reader import dead_letter_reader
from activity_indexer.cli.common import Duration, failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.list import groups_table
from activity_indexer.cli.dead_letters.reading import json_option, parked_option, topic_of
from activity_indexer.cli.help import epilog
from activity_indexer.cli.selection import selection_options
from activity_indexer.dead_letters.grouping import Groups
from activity_indexer.dead_letters.lines import summary
from activity_indexer.dead_letters.payload_text import printable
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.settings import Settings
from activity_indexer.timestamps import format_timestamp, shorten

RETRY: Final = 2.0
"""How often a topic that does not exist is looked for (seconds)."""

TOP: Final = 20
Emit = Callable[[StoredDeadLetter], None]
Batches = AsyncGenerator[Sequence[StoredDeadLetter], None]


@click.command(
    "watch",
    epilog=epilog(
        "dead-letters watch --stage index",
        "dead-letters watch --since 10m --json",
        codes={Exit.DONE: "ended by Ctrl-C"},
    ),
)
@selection_options
@click.option("--for", "seconds", type=Duration(), help="End after this time (30s, 10m); default: with Ctrl-C.")
@click.option("--max", "limit", type=click.IntRange(1), help="End after this many.")
@parked_option
@json_option
def command(*, selection: Selection, seconds: float | None, limit: int | None, parked: bool, as_json: bool) -> None:
    """Show new dead letters as they come, one a line; with --since, those since then first.

    At the end (Ctrl-C) it reports how many came, how fast, and why.
    """
    settings = read_settings()
    quiet_logging(settings)
    topic = topic_of(settings, parked=parked)
    with failing_clearly():
        followed = _followed(settings, topic, selection, partial(_begin, topic, as_json=as_json))
        emit = _json if as_json else _line
        groups, elapsed = asyncio.run(_watch(followed, selection, seconds, limit, emit))
    _notify(groups, elapsed, as_json=as_json)


async def _watch(
    followed: Batches, selection: Selection, seconds: float | None, limit: int | None, emit: Emit
) -> tuple[Groups, float]:
    groups, started = Groups(), time.monotonic()
    async with aclosing(_until_stopped(followed)) as batches:
        async for batch in batches:
            for letter in batch:
                if selection.matches(letter) and (limit is None or groups.total < limit):
                    emit(letter)
                    groups.add(letter)
            over = seconds is not None and time.monotonic() - started >= seconds
            if over or (limit is not None and groups.total >= limit):
                break
    return groups, time.monotonic() - started


async def _until_stopped(batches: Batches) -> Batches:
    """Ends with Ctrl-C or SIGTERM; a batch comes now and then in any case."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with aclosing(batches):
        async for batch in batches:
            yield batch
            if stopped.is_set():
                return


async def _followed(settings: Settings, topic: str, selection: Selection, begin: Callable[[], None]) -> Batches:
    """From now on, or from the selection's `since`; of a topic that is created meanwhile, from its beginning.

    `begin` is called once, when nothing that comes can be missed any more.
    """
    missing = False
    while True:
        async with dead_letter_reader(settings.kafka) as reader:
            spans = await reader.spans([topic], selection)
            earlier = missing or selection.since is not None
            if not missing:
                begin()
            if spans:
                starts = {place: span.start if earlier else span.end for place, span in spans.items()}
                async with aclosing(reader.follow(starts)) as batches:
                    async for batch in batches:
                        yield batch
        missing = True
        yield []
        await asyncio.sleep(RETRY)


def _begin(topic: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"kind": "watching", "topic": topic}))
    else:
        click.echo(f"Watching {topic}; Ctrl-C ends it", err=True)


def _line(letter: StoredDeadLetter) -> None:
    facts = letter.facts
    who = f"{facts.event_type or '?'} transaction {facts.transaction_id or '?'} user {facts.user_id or '?'}"
    parts = [
        click.style(format_timestamp(letter.failed_at)[:19].replace("T", " "), dim=True),
        f"{letter.place:<10}",
        click.style(printable(letter.stage), fg="cyan"),
        click.style(printable(letter.error), fg="red", bold=True),
        printable(f"{shorten(letter.message, 120)}  {shorten(who, 160)}"),
    ]
    click.echo(" ".join(parts))


def _json(letter: StoredDeadLetter) -> None:
    click.echo(json.dumps({"kind": "dead-letter", "topic": letter.topic, **summary(letter)}, ensure_ascii=False))


def _notify(groups: Groups, elapsed: float, *, as_json: bool) -> None:
    rate = groups.total / elapsed if elapsed else 0.0
    if as_json:
        reported: dict[str, Any] = {"kind": "summary", "seconds": round(elapsed, 3), "perSecond": round(rate, 3)}
        click.echo(json.dumps(reported | groups.as_json(TOP)))
        return
    console = Console(stderr=True, highlight=False)
    console.print(f"\n{groups.total:,} dead letters in {elapsed:,.0f} s, {rate:,.1f} a second")
    if groups.total:
        console.print(groups_table(groups, TOP))
