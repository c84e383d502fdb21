"""`activity-indexer dead-letters show`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from activity_common.dead_letter_headers import REPLAY_TIMESTAMP
from activity_common.exit_codes import Exit
from activity_indexer.adapters.elasticsearch.document_reader import stored_document
from activity_indexer.cli.common import failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.reading import json_option, matching, parked_option, topic_of
from activity_indexer.cli.help import epilog
from activity_indexer.cli.selection import OffsetRange, selection_options
from activity_indexer.dead_letters.advice import advice
from activity_indexer.dead_letters.document_state import Outlook, is_document_id, outlook, readable_event, unknown
from activity_indexer.dead_letters.earlier import first_place, history, original_position, original_value
from activity_indexer.dead_letters.lines import as_json as content_json
from activity_indexer.dead_letters.lines import name_as_json, summary
from activity_indexer.dead_letters.location import Location, locate
from activity_indexer.dead_letters.payload_text import Line, payload_lines, printable
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Offsets, Selection
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.replay.records import NOTED_BY_REPLAYS
from activity_indexer.settings import Settings
from activity_indexer.timestamps import format_timestamp, shorten

STYLES: Final = {
    "key": "cyan",
    "string": "green",
    "plain": "magenta",
    "mark": "dim",
    "fold": "yellow",
    "text": "",
    "hex": "magenta",
}
MAX_HEADER: Final = 200
"""Characters of a header that are shown."""


@dataclass(frozen=True, slots=True)
class Page:
    """All that is shown of a dead letter."""

    letter: StoredDeadLetter
    location: Location | None
    outlook: Outlook


@click.command(
    "show",
    epilog=epilog(
        "dead-letters show 0:1234",
        "dead-letters show --transaction t-17",
        codes={Exit.NOTHING_TO_DO: "there is no such dead letter"},
    ),
)
@click.argument("place", type=OffsetRange(), required=False, metavar="[PARTITION:OFFSET]")
@selection_options
@click.option("--message-id", metavar="ID", help="The event's message id, as logs have it.")
@click.option("--full", is_flag=True, help="Shorten nothing.")
@click.option("--raw", is_flag=True, help="Write the value's bytes, and nothing else.")
@parked_option
@json_option
def command(
    *,
    place: Offsets | None,
    selection: Selection,
    message_id: str | None,
    full: bool,
    raw: bool,
    parked: bool,
    as_json: bool,
) -> None:
    """Show one dead letter: why and where it failed, and whether a replay would change anything now.

    The one at PARTITION:OFFSET, or else the newest that the options mean.
    """
    settings = read_settings()
    quiet_logging(settings)
    topic = topic_of(settings, parked=parked)
    if place:
        selection = replace(selection, offsets=(*selection.offsets, place))
    with failing_clearly():
        letter = asyncio.run(_newest(settings, topic, selection, message_id))
    if letter is None:
        click.echo(f"No such dead letter in {topic}: it was never there, or it has expired.", err=True)
        sys.exit(Exit.NOTHING_TO_DO)
    if raw:
        click.echo(letter.value or b"", nl=False)
        return
    page = Page(letter, locate(letter), asyncio.run(_outlook(settings, letter)))
    if as_json:
        click.echo(json.dumps(_as_json(page), ensure_ascii=False))
    else:
        _show(page, fold=not full)


async def _newest(
    settings: Settings, topic: str, selection: Selection, message_id: str | None
) -> StoredDeadLetter | None:
    newest: StoredDeadLetter | None = None
    async for batch in matching(settings, topic, selection):
        for letter in batch:
            if message_id is not None and letter.message_id != message_id:
                continue
            if newest is None or letter.failed_at >= newest.failed_at:
                newest = letter
    return newest


async def _outlook(settings: Settings, letter: StoredDeadLetter) -> Outlook:
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # the page says that it is unavailable
    names = [name.strip() for name in settings.consumer.enrichments.split(",") if name.strip()]
    latest = int((time.time() + settings.consumer.max_clock_skew) * 1e6)
    event, error = readable_event(letter.value, latest, load_enrichments(names), original_position(letter))
    identifier = event.transaction.id if event else letter.facts.transaction_id
    if not is_document_id(identifier):
        return outlook(event, error, None, letter.stage, asked=False)
    try:
        document = await stored_document(settings.elasticsearch, identifier)
    except ActivityIndexerError as unavailable:
        return unknown(event, error, str(unavailable))
    return outlook(event, error, document, letter.stage)


def _as_json(page: Page) -> dict[str, Any]:
    letter, location, state = page.letter, page.location, page.outlook
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        **summary(letter),
        "advice": advice(letter.stage, letter.error),
        "location": asdict(location) if location else None,
        "firstPlace": first_place(letter),
        "history": history(letter),
        "document": state.as_json(),
        "key": content_json(letter.key),
        "value": content_json(letter.value),
        "originalValue": content_json(original_value(letter)),
        "headers": [[name_as_json(name), content_json(value)] for name, value in letter.headers],
    }


def _show(page: Page, *, fold: bool) -> None:
    """Print it; `fold`: long values are shortened."""
    letter = page.letter
    console = Console(highlight=False)
    console.print(f"Dead letter {letter.place} of {letter.topic}\n", style="bold", markup=False, soft_wrap=True)
    console.print(_table(list(_stated(page))))
    console.print("\nHeaders it came with", style="bold")
    console.print(_table(list(_headers(letter, fold=fold)) or [("", "none")]))
    console.print(f"\nKey  {_content(letter.key, fold=fold)}", markup=False, soft_wrap=True)
    console.print(f"Payload, {len(letter.value or b''):,} bytes\n", style="bold", markup=False)
    _show_payload(console, payload_lines(letter.value, page.location, fold=fold))
    if (original := original_value(letter)) is not None:
        text = f"\nPayload before its first correction, {len(original):,} bytes\n"
        console.print(text, style="bold", markup=False)
        _show_payload(console, payload_lines(original, None, fold=fold))


def _show_payload(console: Console, lines: Iterable[Line]) -> None:
    for line in lines:
        text = Text("▶ " if line.marked else "  ", style="bold red")
        for piece in line.pieces:
            text.append(piece.text, STYLES[piece.kind])
        console.print(text, soft_wrap=True)


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(text, style="bold red" if name == "error" else ""))
    return table


def _stated(page: Page) -> Iterator[tuple[str, str]]:
    letter, facts = page.letter, page.letter.facts
    yield "stage", printable(letter.stage)
    yield "error", printable(letter.error)
    yield "message", printable(letter.message)
    if page.location:
        yield "where", _where(page.location)
    yield (
        "event",
        printable(f"{facts.event_type or '?'}  transaction {facts.transaction_id or '?'}  at {facts.timestamp or '?'}"),
    )
    yield "user", printable(facts.user_id or "?")
    yield "failed", _failed(letter)
    yield from _origin(letter)
    yield "document", printable(page.outlook.text)
    yield "what helps", advice(letter.stage, letter.error)
    for problem in letter.unreadable:
        yield "unreadable", printable(problem)


def _origin(letter: StoredDeadLetter) -> Iterator[tuple[str, str]]:
    if letter.original:
        place, offset = letter.original
        written = _time(letter.original_timestamp)
        yield "came from", printable(f"{place.topic} {place.partition}:{offset}, written {written}")
    if letter.original_offsets:
        first, last = letter.original_offsets
        yield "offsets", f"{first} to {last}, in this one dead letter"
    if letter.truncation:
        yield "truncated", f"of {letter.truncation.size:,} bytes, SHA-256 {printable(letter.truncation.sha256)}"
    if letter.incomplete:
        yield "replay", printable(f"not possible: {letter.incomplete}")
    if letter.message_id:
        yield "message id", printable(letter.message_id)
    if letter.replay_count:
        yield "replays", printable(f"{letter.replay_count}, the last was {letter.replay_id or 'not named'}")
    if origin := first_place(letter):
        yield "first place", printable(f"{origin}, written {letter.header(REPLAY_TIMESTAMP) or '?'}")
    for stay in history(letter):
        reported = {name: str(stay.get(name, "?")) for name in ("failed", "stage", "error", "from", "replay")}
        changed = "corrected and sent" if stay.get("corrected") else "sent"
        failed = f"{reported['failed']}, {reported['stage']} {reported['error']}, at {reported['from']}"
        text = f"{failed}; {changed} by {reported['replay']}"
        yield "failed before", printable(shorten(text, MAX_HEADER))


def _where(location: Location) -> str:
    """A location in one line."""
    parts = [location.path]
    if location.line is not None:
        parts.append(f"line {location.line}, column {location.column}, byte {location.byte:,}")
    if location.note:
        parts.append(location.note)
    return printable(": ".join(filter(None, parts)))


def _failed(letter: StoredDeadLetter) -> str:
    attempts = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}" if letter.attempts is not None else "?"
    return f"{_time(letter.last_failure)}, {attempts}, first {_time(letter.first_failure)}"


def _time(microseconds: int | None) -> str:
    return "?" if microseconds is None else format_timestamp(microseconds)


def _headers(letter: StoredDeadLetter, *, fold: bool) -> Iterator[tuple[str, str]]:
    """Those of the producer: what replays noted is shown in words."""
    for name, value in letter.original_headers:
        if name not in NOTED_BY_REPLAYS:
            yield printable(shorten(name, 60)), _content(value, fold=fold)


def _content(content: bytes | None, *, fold: bool) -> str:
    if content is None:
        return "null"
    try:
        text = printable(content.decode())
    except UnicodeDecodeError:
        text = f"{len(content):,} bytes: {content.hex(' ')}"
    return shorten(text, MAX_HEADER) if fold else text
