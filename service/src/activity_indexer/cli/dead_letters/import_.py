"""`activity-indexer dead-letters import`."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import click

from activity_common.exit_codes import Exit
from activity_indexer.adapters.kafka.dead_letters.restorer import restore
from activity_indexer.cli.common import failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.reading import json_option, matching
from activity_indexer.cli.help import epilog
from activity_indexer.cli.progress import progress_bar
from activity_indexer.dead_letters.lines import LineError
from activity_indexer.dead_letters.restoring import Checked, check, letters_in, refuse_known
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.ports import OutRecord
from activity_indexer.settings import Settings


@click.command(
    "import",
    epilog=epilog(
        "dead-letters import letters.jsonl --dry-run",
        "dead-letters import letters.jsonl",
        codes={
            Exit.NOTHING_TO_DO: "the file holds none",
            Exit.REFUSED: "refused: lines that cannot be read, or are there already (see --force)",
        },
    ),
)
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("--dry-run", is_flag=True, help="Check the file, and send nothing.")
@click.option(
    "--force", is_flag=True, help="Take dead letters that are there already, or whose headers cannot be read."
)
@json_option
def command(*, file: BinaryIO, dry_run: bool, force: bool, as_json: bool) -> None:
    """Put exported dead letters back into the dead-letter topic: lost or expired ones.

    FILE has lines of JSON as `export` writes them; -: standard input. All of it is checked before anything is sent, and
    all of it is sent, or nothing. A dead letter that is there already is refused, an edited copy of it too.
    """
    settings = read_settings()
    quiet_logging(settings)
    with failing_clearly(), _seekable(file) as lines:
        checked = asyncio.run(_check(settings, lines, force=force))
        if checked.wrong:
            _refuse(checked)
        sent = 0 if dry_run or not checked.letters else asyncio.run(_send(settings, lines, checked.letters))
    _notify(settings.kafka.dead_letters, checked, sent, dry_run=dry_run, as_json=as_json)


@contextmanager
def _seekable(file: BinaryIO) -> Iterator[BinaryIO]:
    """The file is read twice: a pipe goes to a temporary file first."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(file, kept)
        kept.seek(0)
        yield kept


async def _check(settings: Settings, lines: BinaryIO, *, force: bool) -> Checked:
    checked = check(lines, force=force)
    if checked.letters and not checked.wrong and not force:
        async for batch in matching(settings, settings.kafka.dead_letters, Selection()):
            refuse_known(checked, batch)
    return checked


async def _send(settings: Settings, lines: BinaryIO, total: int) -> int:
    lines.seek(0)
    with progress_bar("dead letters", show=sys.stderr.isatty()) as bar:
        task = bar.add_task("import", total=total)
        return await restore(settings.kafka, _records(lines), lambda sent: bar.update(task, completed=sent))


def _records(lines: BinaryIO) -> Iterator[OutRecord]:
    for number, letter in letters_in(lines):
        if isinstance(letter, LineError):
            raise ActivityIndexerError(f"line {number} changed while the file was read: nothing is imported")
        yield letter.as_record()


def _refuse(checked: Checked) -> None:
    for problem in checked.problems:
        click.echo(problem, err=True)
    if checked.wrong > len(checked.problems):
        click.echo(f"… and {checked.wrong - len(checked.problems):,} more", err=True)
    click.echo("Nothing is imported: correct these lines or take them out.", err=True)
    sys.exit(Exit.REFUSED)


def _notify(topic: str, checked: Checked, sent: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"topic": topic, "valid": checked.letters, "imported": sent, "dryRun": dry_run}))
    elif not checked.letters:
        click.echo("The file holds no dead letter.", err=True)
    elif dry_run:
        click.echo(f"All {checked.letters:,} dead letters could be imported into {topic}")
    else:
        click.echo(f"{sent:,} dead letters imported into {topic}")
    if not checked.letters:
        sys.exit(Exit.NOTHING_TO_DO)
