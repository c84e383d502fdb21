"""The command line: run, check-config, purge-tombstones, version."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version as installed_version

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from activity_indexer.adapters.elasticsearch import connect
from activity_indexer.app import run as run_app
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import ActivityIndexerError, SettingsError
from activity_indexer.purge import Progress as Purged
from activity_indexer.purge import purge_tombstones
from activity_indexer.settings import Settings, declared, load_settings, shown, unknown_variables
from activity_indexer.telemetry.logging import configure_logging

WRONG_SETTINGS = 2
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[float]):
    """A number with a unit, such as 30d, 12h, 90m or 45s; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip())
        if match is None:
            self.fail(f"expected a number with a unit, such as 30d, 12h, 90m or 45s, got {value!r}", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


def _settings() -> Settings:
    try:
        settings = load_settings()
        load_enrichments([name.strip() for name in settings.consumer.enrichments.split(",") if name.strip()])
    except SettingsError as error:
        click.echo(f"The settings are wrong:\n{error}", err=True)
        sys.exit(WRONG_SETTINGS)
    for name, meant in unknown_variables(os.environ):
        click.echo(f"{name} is no setting: is {meant} meant?", err=True)
    return settings


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(installed_version("activity-indexer"), package_name="activity-indexer")
def main() -> None:
    """Move transaction events from Kafka into Elasticsearch.

    All settings are environment variables; `activity-indexer check-config` shows them.
    """


@main.command()
def run() -> None:
    """Index events until SIGTERM or Ctrl-C."""
    settings = _settings()
    configure_logging(settings.consumer.log_level, settings.consumer.log_format)
    try:
        run_app(settings)
    except ActivityIndexerError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@main.command("check-config")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config(*, as_json: bool) -> None:
    """Show every setting, or everything that is wrong with them; exit code 2 then."""
    rows = list(_rows(_settings()))
    if as_json:
        click.echo(json.dumps({name: value for name, value, _, _ in rows}, indent=2))
        return
    table = Table("Variable", "Value", "From", "Meaning", title="Settings", title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _rows(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    sections = [settings.kafka, settings.elasticsearch, settings.redis, settings.database, settings.consumer]
    by_type = {type(section): section for section in sections}
    for section, field, name, info in declared():
        value = getattr(by_type[section], field)
        yield name, shown(value), "environment" if os.environ.get(name) else "default", info.description or ""


@main.command("purge-tombstones")
@click.option(
    "--older-than",
    type=Duration(),
    default="30d",
    show_default=True,
    help="Horizon: longer than any dead letter lives and any old event may still come.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def purge(*, older_than: float, as_json: bool) -> None:
    """Remove the tombstones of transactions that were deleted long ago.

    Until then a tombstone keeps an old event from bringing its transaction back.
    """
    settings = _settings()
    configure_logging("warning", settings.consumer.log_format)
    try:
        done = asyncio.run(_purge(settings, older_than, show=not as_json))
    except ActivityIndexerError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps({"found": done.found, "purged": done.purged, "kept": done.kept}))
    else:
        click.echo(f"{done.purged} of {done.found} tombstones purged, {done.kept} kept since they changed meanwhile")


async def _purge(settings: Settings, older_than: float, *, show: bool) -> Purged:
    before = int((time.time() - older_than) * 1e6)
    found = purged = kept = 0
    columns = TextColumn("tombstones"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task("purge", total=None)
        async with connect(settings.elasticsearch) as client:
            async for progress in purge_tombstones(client, settings.elasticsearch.index, before):
                found, purged, kept = progress.found, progress.purged, progress.kept
                bar.update(task, total=found, completed=purged + kept)
    return Purged(found, purged, kept)


@main.command()
def version() -> None:
    """Show the version."""
    click.echo(installed_version("activity-indexer"))
