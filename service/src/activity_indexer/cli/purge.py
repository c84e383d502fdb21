"""`activity-indexer purge-tombstones`."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.cli.common import Duration, failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.purge import Progress, purge_tombstones
from activity_indexer.settings import Settings


@click.command("purge-tombstones", epilog=epilog("purge-tombstones", "purge-tombstones --older-than 60d --json"))
@click.option(
    "--older-than",
    type=Duration(),
    default="30d",
    show_default=True,
    help="Horizon: longer than any dead letter lives and any old event may still come.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--result-file", type=click.Path(dir_okay=False, path_type=Path), help="Write what --json prints to this file too."
)
def command(*, older_than: float, as_json: bool, result_file: Path | None) -> None:
    """Remove the tombstones of transactions that were deleted long ago.

    Until then a tombstone keeps an old event from bringing its transaction back.
    """
    settings = read_settings()
    quiet_logging(settings)
    with failing_clearly():
        done = asyncio.run(_purge(settings, older_than, show=not as_json))
    result = json.dumps({"found": done.found, "purged": done.purged, "kept": done.kept})
    if result_file:
        result_file.write_text(result)
    if as_json:
        click.echo(result)
    else:
        click.echo(f"{done.purged} of {done.found} tombstones purged, {done.kept} kept since they changed meanwhile")


async def _purge(settings: Settings, older_than: float, *, show: bool) -> Progress:
    before = int((time.time() - older_than) * 1e6)
    done = Progress(0, 0, 0)
    columns = TextColumn("tombstones"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with ProgressBar(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task("purge", total=None)
        async with connect(settings.elasticsearch) as client:
            async for done in purge_tombstones(client, settings.elasticsearch.index, before):
                bar.update(task, total=done.found, completed=done.purged + done.kept)
    return done
