"""`activity-indexer dead-letters`: the group, a module per command."""

from __future__ import annotations

import click

from activity_common.exit_codes import Exit
from activity_indexer.cli.help import epilog
from activity_indexer.cli.lazy import LazyGroup


@click.group(
    "dead-letters",
    cls=LazyGroup,
    epilog=epilog(
        "dead-letters list",
        "dead-letters show 0:1234",
        "dead-letters replay --dry-run",
        codes={Exit.DONE: "done; each command lists its own"},
    ),
)
def command() -> None:
    """Find out why events could not be indexed, correct them, and send them again.

    Every command but `import` and `replay` only reads, without a consumer group: it disturbs no consumer.
    """


for _name, _module, _summary in (
    ("list", "dead_letters.list", "Count the dead letters by cause, with what usually helps."),
    (
        "show",
        "dead_letters.show",
        "Show one dead letter: why and where it failed, and whether a replay would change anything now.",
    ),
    (
        "watch",
        "dead_letters.watch",
        "Show new dead letters as they come, one a line; with --since, those since then first.",
    ),
    (
        "export",
        "dead_letters.export",
        "Write dead letters as lines of JSON, with nothing lost: `import` takes them back.",
    ),
    (
        "import",
        "dead_letters.import_",
        "Put exported dead letters back into the dead-letter topic: lost or expired ones.",
    ),
    ("replay", "dead_letters.replay", "Send dead letters again: a plan first, then each once, and none lost."),
):
    command.add_later(_name, _module, _summary)
