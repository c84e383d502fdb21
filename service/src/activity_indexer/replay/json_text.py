"""JSON that is changed without touching its numbers: each keeps the digits that it came with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NoReturn


class Number(Decimal):
    """A JSON number that remembers how it was written; equal to what is numerically equal."""

    def __new__(cls, text: str) -> Number:  # noqa: PYI034 - Decimal's own signature is wider
        """A number from its JSON text."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __deepcopy__(self, memo: Any) -> Number:
        """Itself: it never changes."""
        return self


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text: dict, list, str, bool, None, and Number for every number.

    Of keys that come twice the last counts. Raises ValueError, or RecursionError when it is nested too deeply.
    """
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=_no_number)


def write_json(value: Any, indent: int | None = None) -> bytes:
    """The JSON text of such a value (UTF-8); `indent` lays it out over lines.

    Raises ValueError, or RecursionError when it is nested too deeply.
    """
    parts: list[str] = []
    _write(value, parts.append, "" if indent is None else "\n", indent or 0)
    return "".join(parts).encode()


def _write(value: Any, put: Callable[[str], None], line: str, indent: int) -> None:
    """`line` is what begins a line at this depth, nothing when all is one line."""
    if isinstance(value, Number):
        put(value.text)
    elif isinstance(value, dict) and value:
        _write_members("{}", ((f"{_text(name)}: ", member) for name, member in value.items()), put, line, indent)
    elif isinstance(value, list) and value:
        _write_members("[]", (("", member) for member in value), put, line, indent)
    else:
        put(_text(value))


def _write_members(
    brackets: str, members: Iterable[tuple[str, Any]], put: Callable[[str], None], line: str, indent: int
) -> None:
    deeper = line and line + " " * indent
    before = brackets[0] + deeper
    for name, member in members:
        put(before + name)
        _write(member, put, deeper, indent)
        before = "," + (deeper or " ")
    put(line + brackets[1])


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"expected a number, got {name}")
