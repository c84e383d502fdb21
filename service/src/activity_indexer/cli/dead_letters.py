"""`activity-indexer dead-letters`: the group, a module per command."""

from __future__ import annotations

import click

from activity_indexer.cli import (
    dead_letters_export,
    dead_letters_import,
    dead_letters_list,
    dead_letters_show,
    dead_letters_watch,
    replay,
)
from activity_indexer.cli.common import Exit
from activity_indexer.cli.help import epilog


@click.group(
    "dead-letters",
    epilog=epilog(
        "dead-letters list",
        "dead-letters show 0:1234",
        "dead-letters replay --dry-run",
        codes={Exit.DONE: "done; each command tells its own"},
    ),
)
def command() -> None:
    """Find out why events could not be indexed, correct them, and send them again.

    Every command but `import` and `replay` only reads, without a consumer group: it disturbs nobody.
    """


for _module in (
    dead_letters_list,
    dead_letters_show,
    dead_letters_watch,
    dead_letters_export,
    dead_letters_import,
    replay,
):
    command.add_command(_module.command)
