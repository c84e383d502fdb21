"""One dead letter on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from activity_indexer.dead_letters.advice import advice
from activity_indexer.dead_letters.document_state import Outlook
from activity_indexer.dead_letters.location import Location
from activity_indexer.dead_letters.payload_text import Line, payload_lines, printable
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.timestamps import format_timestamp, shorten

STYLES = {
    "key": "cyan",
    "string": "green",
    "plain": "magenta",
    "mark": "dim",
    "fold": "yellow",
    "text": "",
    "hex": "magenta",
}
MAX_HEADER = 200
"""Characters of a header that are shown."""


@dataclass(frozen=True, slots=True)
class Page:
    """All that is told of a dead letter."""

    letter: StoredDeadLetter
    location: Location | None
    outlook: Outlook


def show_page(page: Page, *, fold: bool) -> None:
    """Print it; `fold`: long values are shortened."""
    letter = page.letter
    console = Console(highlight=False)
    console.print(f"Dead letter {letter.place} of {letter.topic}\n", style="bold", markup=False, soft_wrap=True)
    console.print(_table(list(_told(page))))
    console.print("\nHeaders it came with", style="bold")
    console.print(_table(list(_headers(letter, fold=fold)) or [("", "none")]))
    console.print(f"\nKey  {_content(letter.key, fold=fold)}", markup=False, soft_wrap=True)
    console.print(f"Payload, {len(letter.value or b''):,} bytes\n", style="bold", markup=False)
    for line in payload_lines(letter.value, page.location, fold=fold):
        console.print(_line(line), soft_wrap=True)


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(text, style="bold red" if name == "error" else ""))
    return table


def _told(page: Page) -> Iterator[tuple[str, str]]:
    letter, facts = page.letter, page.letter.facts
    yield "stage", printable(letter.stage)
    yield "error", printable(letter.error)
    yield "message", printable(letter.message)
    if page.location:
        yield "where", where(page.location)
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


def where(location: Location) -> str:
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
    for name, value in letter.original_headers:
        yield printable(shorten(name, 60)), _content(value, fold=fold)


def _content(content: bytes | None, *, fold: bool) -> str:
    if content is None:
        return "null"
    try:
        text = printable(content.decode())
    except UnicodeDecodeError:
        text = f"{len(content):,} bytes: {content.hex(' ')}"
    return shorten(text, MAX_HEADER) if fold else text


def _line(line: Line) -> Text:
    text = Text("▶ " if line.marked else "  ", style="bold red")
    for piece in line.pieces:
        text.append(piece.text, STYLES[piece.kind])
    return text
