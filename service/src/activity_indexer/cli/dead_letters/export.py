"""`activity-indexer dead-letters export`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TextIO

import click

from activity_common.exit_codes import Exit
from activity_indexer.cli.common import failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.reading import matching, parked_option, topic_of
from activity_indexer.cli.help import epilog
from activity_indexer.cli.selection import selection_options
from activity_indexer.dead_letters.lines import to_line
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.settings import Settings


@click.command(
    "export",
    epilog=epilog(
        "dead-letters export --stage decode --output letters.jsonl",
        "dead-letters export --since 1d | gzip > letters.jsonl.gz",
        codes={Exit.NOTHING_TO_DO: "no dead letter matches"},
    ),
)
@selection_options
@click.option(
    "--output",
    "-o",
    type=click.File("w", encoding="utf-8", lazy=False),
    default="-",
    show_default=True,
    help="File to write; -: standard output.",
)
@parked_option
def command(*, selection: Selection, output: TextIO, parked: bool) -> None:
    """Write dead letters as lines of JSON, with nothing lost: `import` takes them back.

    Key, value and headers are text where they are UTF-8, else {"base64": "…"}.
    """
    settings = read_settings()
    quiet_logging(settings)
    topic = topic_of(settings, parked=parked)
    with failing_clearly():
        written = asyncio.run(_export(settings, topic, selection, output))
    click.echo(f"{written:,} dead letters of {topic} exported", err=True)
    if not written:
        sys.exit(Exit.NOTHING_TO_DO)


async def _export(settings: Settings, topic: str, selection: Selection, output: TextIO) -> int:
    written = 0
    async with aclosing(matching(settings, topic, selection)) as batches:
        async for batch in batches:
            output.write("".join(f"{to_line(letter)}\n" for letter in batch))
            written += len(batch)
    return written
