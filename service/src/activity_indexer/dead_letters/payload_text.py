"""A payload for a terminal: JSON in order, long values folded and the error's place marked; else text or bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from activity_indexer.dead_letters.json_tree import Node, parse
from activity_indexer.dead_letters.location import Location

MAX_STRING: Final = 120
"""Characters of a string that are shown."""

MAX_MEMBERS: Final = 100
"""Members of an object or array that are shown."""

MAX_LINES: Final = 40
"""Lines of a payload that is no JSON."""

MAX_LINE: Final = 300
ROW: Final = 16
"""Bytes in a row of a hex dump."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one kind: `key`, `string`, `plain`, `mark` (punctuation), `fold` (what was left out), `text` or `hex`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output; `marked`: the error is here."""

    pieces: tuple[Piece, ...]
    marked: bool = False

    def __str__(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def payload_lines(value: bytes | None, location: Location | None, *, fold: bool = True) -> list[Line]:
    """The payload in lines; `fold`: long values are shortened, with their length."""
    if value is None:
        return [Line((Piece("fold", "null: the record has no value"),))]
    byte = location.byte if location else None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return list(_hex_lines(value, byte, fold))
    try:
        root = parse(text)
        place = None if byte is None else len(value[:byte].decode())
        return _Printer(place, fold).lines(root)
    except (ValueError, RecursionError):
        return list(_text_lines(text, location, fold))


class _Printer:
    """Prints a tree; `place` is the character that the error is at."""

    def __init__(self, place: int | None, fold: bool) -> None:
        self._place = place
        self._fold = fold

    def lines(self, root: Node) -> list[Line]:
        """The whole tree."""
        return list(self._node(root, (), root.start, 0, ""))

    def _node(self, node: Node, label: tuple[Piece, ...], start: int, depth: int, comma: str) -> Iterator[Line]:
        marked = self._place is not None and start == self._place
        indent = (Piece("mark", "  " * depth), *label)
        if not node.members:
            yield Line((*indent, *self._leaf(node), Piece("mark", comma)), marked)
            return
        opening, closing = "{}" if node.kind == "object" else "[]"
        yield Line((*indent, Piece("mark", opening)), marked)
        yield from self._members(node, depth + 1)
        yield Line((Piece("mark", "  " * depth + closing + comma),))

    def _members(self, node: Node, depth: int) -> Iterator[Line]:
        for number, (key, start, child) in enumerate(node.members):
            marked = self._place is not None and start <= self._place < child.end
            if self._fold and number >= MAX_MEMBERS and not marked:
                continue
            comma = "" if number == len(node.members) - 1 else ","
            label = (_quoted("key", str(key)), Piece("mark", ": ")) if isinstance(key, str) else ()
            yield from self._node(child, label, start, depth, comma)
        hidden = len(node.members) - MAX_MEMBERS
        if self._fold and hidden > 0:
            yield Line((Piece("fold", "  " * depth + f"… {hidden:,} more of {len(node.members):,}"),))

    def _leaf(self, node: Node) -> tuple[Piece, ...]:
        if node.kind == "string":
            return _folded(node.text, self._fold)
        return (Piece("plain", node.text) if node.text else Piece("mark", "{}" if node.kind == "object" else "[]"),)


def _folded(text: str, fold: bool) -> tuple[Piece, ...]:
    if not fold or len(text) <= MAX_STRING:
        return (_quoted("string", text),)
    return _quoted("string", text[:MAX_STRING]), Piece("fold", f"… {len(text):,} characters")


def _quoted(kind: str, text: str) -> Piece:
    return Piece(kind, printable(json.dumps(text, ensure_ascii=False)))


def printable(text: str) -> str:
    """The text without what moves a terminal's cursor, or cannot be printed."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _text_lines(text: str, location: Location | None, fold: bool) -> Iterator[Line]:
    """Text with line numbers; the lines around the error when there are many, and a caret below it."""
    lines = text.split("\n")
    at = location.line - 1 if location and location.line else 0
    first = max(0, min(at - MAX_LINES // 2, len(lines) - MAX_LINES)) if fold else 0
    last = min(len(lines), first + MAX_LINES) if fold else len(lines)
    if first:
        yield Line((Piece("fold", f"… {first:,} lines"),))
    for number in range(first, last):
        here = location if location and location.line == number + 1 else None
        yield from _text_line(number, lines[number], here, fold)
    if last < len(lines):
        yield Line((Piece("fold", f"… {len(lines) - last:,} lines"),))


def _text_line(number: int, line: str, here: Location | None, fold: bool) -> Iterator[Line]:
    column = (here.column or 1) - 1 if here else 0
    first = max(0, column - MAX_LINE // 2) if fold and len(line) > MAX_LINE else 0
    part = line[first : first + MAX_LINE] if fold else line
    hidden = len(line) - len(part)
    rest = f"  … {len(line):,} characters in the line" if hidden else ""
    before = "…" if first else ""
    yield Line(
        (Piece("mark", f"{number + 1:>4} {before}"), Piece("text", printable(part)), Piece("fold", rest)), bool(here)
    )
    if here:
        width = 5 + len(before) + len(printable(part[: column - first]))
        yield Line((Piece("mark", " " * width + "^"),), marked=True)


def _hex_lines(value: bytes, byte: int | None, fold: bool) -> Iterator[Line]:
    """A hex dump; the rows around the error when there are many."""
    rows = (len(value) + ROW - 1) // ROW
    at = (byte or 0) // ROW
    first = max(0, min(at - MAX_LINES // 2, rows - MAX_LINES)) if fold else 0
    last = min(rows, first + MAX_LINES) if fold else rows
    if first:
        yield Line((Piece("fold", f"… {first * ROW:,} bytes"),))
    for row in range(first, last):
        part = value[row * ROW : (row + 1) * ROW]
        text = "".join(chr(each) if 0x20 <= each < 0x7F else "." for each in part)
        pieces = Piece("mark", f"{row * ROW:08x}  "), Piece("hex", f"{part.hex(' '):<47}"), Piece("text", f"  {text}")
        yield Line(pieces, byte is not None and row == at)
    if last < rows:
        yield Line((Piece("fold", f"… {len(value) - last * ROW:,} bytes"),))
