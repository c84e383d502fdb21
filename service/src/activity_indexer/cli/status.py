"""`activity-indexer status`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from functools import partial

import click
from rich.console import Console
from rich.live import Live

from activity_common.exit_codes import Exit
from activity_indexer.cli.common import Duration, quiet_logging, read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.status.collect import collect
from activity_indexer.status.report import Status, to_json
from activity_indexer.status.table import render

EPILOG = epilog(
    "status",
    "status --watch --interval 5s",
    "status --json | jq '.kafka.found.groups[0].totalLag'",
    "status --indexer http://10.1.2.3:8080",
    codes={
        Exit.DONE: "healthy",
        Exit.FAILED: None,
        Exit.UNHEALTHY: "a server, the topic, the alias or a group's members are missing, or an indexer reports a "
        "problem or cannot be asked",
    },
)


@click.command("status", epilog=EPILOG)
@click.option(
    "--interval", type=Duration(), default="2s", show_default=True, help="Time over which rates are measured."
)
@click.option(
    "--timeout", "limit", type=Duration(), default="10s", show_default=True, help="Time that each server has to answer."
)
@click.option(
    "--sample",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Newest dead letters that are looked at for their causes.",
)
@click.option(
    "--indexer",
    "addresses",
    multiple=True,
    metavar="URL",
    help="Ask the indexer at this URL (of CONSUMER_HTTP_PORT), too. Repeatable. Members of the group are found by "
    "themselves.",
)
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C; with --json a line for each interval.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    *, interval: float, limit: float, sample: int, addresses: tuple[str, ...], watch: bool, as_json: bool
) -> None:
    """Show topics, members, lag, rates, index, audit, dead letters, versions, and what the indexers report.

    All servers are asked at once: one that is unavailable hides nothing of the others. Each indexer is asked for the
    facts behind its probes, at the address that it stated when it joined its group.
    """
    settings = read_settings()
    quiet_logging(settings)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says is in the table
    with suppress(KeyboardInterrupt):
        ask = partial(collect, settings, interval, limit, sample, addresses)
        healthy = asyncio.run(_status(ask, interval, watch=watch, as_json=as_json))
        sys.exit(Exit.DONE if healthy else Exit.UNHEALTHY)


async def _status(ask: Callable[[], Awaitable[Status]], interval: float, *, watch: bool, as_json: bool) -> bool:
    if watch:
        await _watch(ask, interval, as_json=as_json)
    found = await ask()
    if as_json:
        click.echo(json.dumps(to_json(found), indent=2))
    else:
        Console().print(render(found))
    return found.healthy


async def _watch(ask: Callable[[], Awaitable[Status]], interval: float, *, as_json: bool) -> None:
    live = None if as_json else Live(console=Console(), auto_refresh=False)
    with live or nullcontext():
        while True:
            found = await ask()
            if live:
                live.update(render(found), refresh=True)
            else:
                click.echo(json.dumps(to_json(found)))
            if not found.kafka.up:
                await asyncio.sleep(interval)  # else the rates take that long
