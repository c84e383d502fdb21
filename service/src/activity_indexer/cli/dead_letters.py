"""`activity-indexer dead-letters`: the group, a module per command."""

from __future__ import annotations

import click


@click.group("dead-letters")
def command() -> None:
    """Find out why events could not be indexed, correct them, and send them again.

    Every command but `import` and `replay` only reads, without a consumer group: it disturbs nobody.
    """


_COMMANDS: tuple[click.Command, ...] = ()
for _command in _COMMANDS:
    command.add_command(_command)
