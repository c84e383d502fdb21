"""Reading dead letters for a command: the topic, the matching ones, and a bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from activity_indexer.adapters.kafka.dead_letters.reader import DeadLetterReader, dead_letter_reader
from activity_indexer.cli.common import few_collections
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Notify
from activity_indexer.dead_letters.spans import Progress as Passed
from activity_indexer.settings import Settings

parked_option = click.option("--parked", is_flag=True, help="Those that came back too often, and are parked.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def topic_of(settings: Settings, *, parked: bool) -> str:
    """The topic that is read."""
    return settings.kafka.parked if parked else settings.kafka.dead_letters


async def matching(
    settings: Settings, topic: str, selection: Selection
) -> AsyncGenerator[list[StoredDeadLetter], None]:
    """The dead letters that are selected, in batches, with a bar on stderr when it is a terminal.

    Only what is in the topic now. Raises Unavailable or Refused.
    """
    async with dead_letter_reader(settings.kafka) as reader, aclosing(read(reader, topic, selection)) as batches:
        async for batch in batches:
            yield batch


async def read(
    reader: DeadLetterReader, topic: str, selection: Selection
) -> AsyncGenerator[list[StoredDeadLetter], None]:
    """The same with a reader that is there already."""
    spans = await reader.spans([topic], selection)
    with few_collections(), _bar(topic) as notify:
        async with aclosing(reader.read(spans, notify)) as batches:
            async for batch in batches:
                if found := [letter for letter in batch if selection.matches(letter)]:
                    yield found


@contextmanager
def _bar(topic: str) -> Iterator[Notify]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[reported]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(topic, total=None, reported="")

        def notify(passed: Passed) -> None:
            elapsed = bar.tasks[0].elapsed or 0
            rate = f", {passed.records / elapsed:,.0f}/s" if elapsed else ""
            bar.update(task, total=passed.total, completed=passed.passed, reported=f"{passed.records:,} read{rate}")

        yield notify
