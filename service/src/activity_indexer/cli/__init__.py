"""The command line: one group, a module per command."""

from __future__ import annotations

from importlib.metadata import version as installed_version

import click

from activity_indexer.cli import check_config, completion, dead_letters, purge, reconcile, reindex, run, status
from activity_indexer.cli.common import Exit
from activity_indexer.cli.help import epilog

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=epilog(
        "check-config", "run", "status", "reindex --help", codes={Exit.DONE: "done; each command tells its own"}
    ),
)
@click.version_option(installed_version("activity-indexer"), package_name="activity-indexer")
def main() -> None:
    """Move transaction events from Kafka into Elasticsearch.

    All settings are environment variables; `activity-indexer check-config` shows them.
    """


@main.command(epilog=epilog("version", codes={Exit.FAILED: None, Exit.WRONG_USAGE: "wrong usage"}))
def version() -> None:
    """Show the version."""
    click.echo(installed_version("activity-indexer"))


for _module in (run, check_config, purge, reconcile, dead_letters, reindex, status, completion):
    main.add_command(_module.command)
