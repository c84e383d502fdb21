"""Where in a payload its error is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from activity_indexer.dead_letters.json_tree import Node, Path, parse, repeated_key, resolve, shown, walk
from activity_indexer.dead_letters.reasons import field_of
from activity_indexer.dead_letters.record import StoredDeadLetter

ENVELOPE: Final = frozenset({"event_type", "timestamp", "transaction"})
MAX_DEPTH: Final = 20
"""Levels of metadata that Elasticsearch takes."""

MAX_TERM: Final = 32_766
"""Bytes of a key and its value in the metadata that Elasticsearch takes."""

_BYTE: Final = re.compile(r"\b(?:at )?byte (\d+)\b")


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a payload: `line` and `column` count from 1, in characters; `byte` from 0.

    Without these the place is not there: `path` then says what is missing. `note` says more than the error does.
    """

    path: str = ""
    byte: int | None = None
    line: int | None = None
    column: int | None = None
    note: str = ""


def locate(letter: StoredDeadLetter) -> Location | None:
    """Where in the payload the error is, as far as it can be found; None when it cannot."""
    value = letter.value or b""
    if not value or letter.content is not None:  # the value is no event's, or not all of it
        return None
    if letter.stage == "decode":
        return _malformed(value, letter.message)
    field = field_of(letter.message)
    if letter.stage == "enrich" or (not field and letter.error != "wrong_type"):
        return None
    try:
        text = value.decode()
        root = parse(text)
    except (ValueError, RecursionError):
        return _malformed(value, letter.message)
    return _of_field(text, root, field, letter)


def _malformed(value: bytes, message: str) -> Location | None:
    """By the decoder's own word on this payload, else by the message's."""
    try:
        value.decode()
        msgspec.json.decode(value)
    except UnicodeDecodeError as error:
        return _at_byte(value, error.start)
    except (ValueError, RecursionError) as error:
        found = str(error)
        if "truncated" in found:
            return _at_byte(value, len(value), note="the payload ends here, too early")
        if match := _BYTE.search(found) or _BYTE.search(message):
            return _at_byte(value, int(match[1]))
    match = _BYTE.search(message)
    return _at_byte(value, int(match[1])) if match else None


def _at_byte(value: bytes, byte: int, path: str = "", note: str = "") -> Location:
    before = value[:byte].decode(errors="replace")
    return _at(before, path, min(byte, len(value)), note)


def _at(before: str, path: str, byte: int, note: str) -> Location:
    return Location(path, byte, before.count("\n") + 1, len(before) - before.rfind("\n"), note)


def _of_field(text: str, root: Node, field: str, letter: StoredDeadLetter) -> Location:
    path = _path(root, field.partition(",")[0], letter.stage)
    if "Duplicate field" in letter.message:
        path = ("transaction",)
    found = resolve(root, path)
    if found is None:
        return Location(shown(path), note="it is not there")
    place, note = found[0], ""
    if letter.stage == "index":
        path, place, note = _closer(path, *found)
    before = text[:place]
    return _at(before, shown(path), len(before.encode(errors="replace")), note)


def _path(root: Node, field: str, stage: str) -> Path:
    """An error of the transaction names its fields alone; a dot may be part of a name."""
    if not field:
        return () if root.kind != "object" else ("transaction",)
    if stage != "index" and field in ENVELOPE:
        return (field,)
    transaction = root.find("transaction")
    return ("transaction", *_steps(transaction[1] if transaction else root, field.split(".")))


def _steps(node: Node, parts: list[str]) -> Iterator[str | int]:
    here: Node | None = node
    while parts:
        length = next(
            (count for count in range(len(parts), 0, -1) if here and here.find(".".join(parts[:count]))), len(parts)
        )
        key = ".".join(parts[:length])
        found = here.find(key) if here else None
        here = found[1] if found else None
        yield key
        parts = parts[length:]


def _closer(path: Path, place: int, node: Node) -> tuple[Path, int, str]:
    """Elasticsearch names a field of the mapping; the cause is often somewhere within it."""
    if twice := repeated_key(node, path):
        return *twice, "the same key appears here a second time"
    for below, start, child in walk(node, path):
        if len(below) - len(path) >= MAX_DEPTH and child.members:
            return below, start, f"nested deeper than the {MAX_DEPTH} levels that Elasticsearch takes"
        if len(_term(below, path, child)) > MAX_TERM:
            return below, start, f"key and value are longer than the {MAX_TERM:,} bytes that Elasticsearch takes"
    return path, place, ""


def _term(below: Path, path: Path, child: Node) -> bytes:
    keys: list[Any] = list(below[len(path) :])
    return ".".join(map(str, keys)).encode(errors="replace") + child.text.encode(errors="replace")
