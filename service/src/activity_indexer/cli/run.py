"""`activity-indexer run`."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from activity_common.exit_codes import Exit
from activity_indexer.cli.common import failing_clearly, read_settings
from activity_indexer.cli.help import epilog
from activity_indexer.cli.lazy import without
from activity_indexer.telemetry.logging import configure_logging


@click.command(
    "run",
    epilog=epilog(
        "run",
        codes={
            Exit.DONE: "ended by SIGTERM or Ctrl-C, all settled and committed",
            Exit.FAILED: "failed: the port is taken, a defect, or processes that die too often",
        },
    ),
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    metavar="N",
    default=1,
    show_default=True,
    help="Run this many indexers, each with its own share of the partitions, its own memory budget and its own port: "
    "CONSUMER_HTTP_PORT and those after it. One that dies is replaced.",
)
def command(processes: int) -> None:
    """Index events until SIGTERM or Ctrl-C."""
    settings = read_settings()
    configure_logging(settings.consumer.log_level, settings.consumer.log_format)
    with without("requests"):  # a second way of the client of Elasticsearch to send requests
        from activity_indexer import app  # noqa: PLC0415 - most imports, after the settings are known to be right

    with failing_clearly():
        if processes == 1:
            app.run(settings)
            return
        from activity_indexer.cli.supervisor import Supervisor  # noqa: PLC0415 - for several processes only

        for module in app.IMPORTED_LATER:
            import_module(module)  # once, and shared by all processes
        if not Supervisor(settings, processes, app.run).run():
            sys.exit(Exit.FAILED)
