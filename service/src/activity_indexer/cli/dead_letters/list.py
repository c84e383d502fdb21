"""`activity-indexer dead-letters list`."""

from __future__ import annotations

import asyncio
import json

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activity_indexer.cli.common import failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.reading import json_option, matching, parked_option, topic_of
from activity_indexer.cli.help import epilog
from activity_indexer.cli.selection import selection_options
from activity_indexer.dead_letters.grouping import BY, Group, Groups
from activity_indexer.dead_letters.payload_text import printable
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.settings import Settings
from activity_indexer.timestamps import format_timestamp, shorten


@click.command("list", epilog=epilog("dead-letters list --since 2h", "dead-letters list --by user --stage validate"))
@selection_options
@click.option("--by", type=click.Choice(list(BY)), default="cause", show_default=True, help="What to group by.")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, help="Groups to show at most.")
@parked_option
@json_option
def command(*, selection: Selection, by: str, top: int, parked: bool, as_json: bool) -> None:
    """Count the dead letters by cause, with what usually helps."""
    settings = read_settings()
    quiet_logging(settings)
    topic = topic_of(settings, parked=parked)
    with failing_clearly():
        groups = asyncio.run(_groups(settings, topic, selection, by))
    if as_json:
        click.echo(json.dumps({"topic": topic, "selection": selection.as_json(), **groups.as_json(top)}))
    else:
        _show(topic, selection, groups, top)


async def _groups(settings: Settings, topic: str, selection: Selection, by: str) -> Groups:
    groups = Groups(by)
    async for batch in matching(settings, topic, selection):
        for letter in batch:
            groups.add(letter)
    return groups


def _show(topic: str, selection: Selection, groups: Groups, top: int) -> None:
    console = Console(highlight=False)
    chosen = "" if selection == Selection() else f" with {selection}"
    if not groups.total:
        console.print(f"No dead letters in {topic}{chosen}.", markup=False, soft_wrap=True)
        return
    console.print(f"{groups.total:,} dead letters in {topic}{chosen}, times in UTC", markup=False, soft_wrap=True)
    console.print(groups_table(groups, top))
    others, letters = groups.beyond(top)
    if letters:
        console.print(f"{letters:,} more in {others:,} smaller groups: --top shows more", markup=False)


def groups_table(groups: Groups, top: int) -> Table:
    """The groups in a table that fits 80 columns, and uses what is there."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    table.add_column("COUNT", justify="right", no_wrap=True)
    table.add_column(groups.by.upper(), ratio=1, overflow="fold")
    table.add_column("FIRST, LAST", no_wrap=True, width=19)
    table.add_column("EXAMPLE", no_wrap=True)
    for group in groups.largest(top):
        times = "\n".join(_time(moment) for moment in dict.fromkeys((group.first, group.last)))
        table.add_row(f"{group.count:,}", _cause(group), times, group.example)
    return table


def _cause(group: Group) -> Text:
    words = [printable(shorten(word, 200)) for word in group.key]
    if len(words) == 1:
        return Text(words[0] or "(none)")
    stage, error, field = words
    text = Text.assemble((f"{stage} ", "cyan"), (error, "bold red"), (f" {field}" if field else "", "yellow"))
    return text.append(f"\n{group.advice}", "dim")


def _time(microseconds: int) -> str:
    return format_timestamp(microseconds)[:19].replace("T", " ")
