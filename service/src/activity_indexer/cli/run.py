"""`activity-indexer run`."""

from __future__ import annotations

import click

from activity_indexer import app
from activity_indexer.cli.common import failing_clearly, read_settings
from activity_indexer.telemetry.logging import configure_logging


@click.command("run")
def command() -> None:
    """Index events until SIGTERM or Ctrl-C."""
    settings = read_settings()
    configure_logging(settings.consumer.log_level, settings.consumer.log_format)
    with failing_clearly():
        app.run(settings)
