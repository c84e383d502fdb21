"""The command line: one group, a module per command, which is imported when the command is called."""

from __future__ import annotations

from importlib.metadata import version as installed_version

import click

from activity_common.exit_codes import Exit
from activity_indexer.cli.help import epilog
from activity_indexer.cli.lazy import LazyGroup

__all__ = ["main"]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=epilog(
        "check-config", "run", "status", "reindex --help", codes={Exit.DONE: "done; each command lists its own"}
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


main.add_later("run", "run", "Index events until SIGTERM or Ctrl-C.", without=("rich",))  # structlog's own tracebacks
for _name, _module, _summary in (
    ("check-config", "check_config", "Show every setting, or everything that is wrong with them; exit code 2 then."),
    ("purge-tombstones", "purge", "Remove the tombstones of transactions that were deleted long ago."),
    ("reconcile", "reconcile", "Compare the index with the audit, and repair it."),
    ("dead-letters", "dead_letters", "Find out why events could not be indexed, correct them, and send them again."),
    ("reindex", "reindex", "Build the index again, with the present mapping, and move the alias to it."),
    (
        "status",
        "status",
        "Show topics, members, lag, rates, index, audit, dead letters, versions, and what the indexers report.",
    ),
    ("completion", "completion", "Print the script with which a shell completes commands and options."),
):
    main.add_later(_name, _module, _summary)
