"""`activity-indexer run`."""

from __future__ import annotations

import gc

import click

from activity_indexer.cli.common import failing_clearly, read_settings
from activity_indexer.cli.help import Exit, epilog
from activity_indexer.telemetry.logging import configure_logging


@click.command(
    "run",
    epilog=epilog(
        "run",
        codes={
            Exit.DONE: "ended by SIGTERM or Ctrl-C, all settled and committed",
            Exit.FAILED: "failed: the port is taken, or a defect",
        },
    ),
)
def command() -> None:
    """Index events until SIGTERM or Ctrl-C."""
    settings = read_settings()
    configure_logging(settings.consumer.log_level, settings.consumer.log_format)
    gc.disable()  # what imports make stays: to look through it again and again takes a tenth of the start
    from activity_indexer import app  # noqa: PLC0415 - a second of imports, after the settings are known to be right

    with failing_clearly():
        app.run(settings)
