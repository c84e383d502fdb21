"""JSON that is changed without touching its numbers: each keeps the digits that it came with."""

from __future__ import annotations

import json
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


def write_json(value: Any) -> bytes:
    """The JSON text of such a value (UTF-8). Raises ValueError, or RecursionError when it is nested too deeply."""
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts).encode()


def _write(value: Any, put: Any) -> None:
    if isinstance(value, Number):
        put(value.text)
    elif isinstance(value, dict):
        _write_object(value, put)
    elif isinstance(value, list):
        _write_array(value, put)
    else:
        put(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _write_object(value: dict[str, Any], put: Any) -> None:
    before = "{"
    for name, member in value.items():
        put(f"{before}{json.dumps(name, ensure_ascii=False)}: ")
        _write(member, put)
        before = ", "
    put("}" if value else "{}")


def _write_array(value: list[Any], put: Any) -> None:
    before = "["
    for member in value:
        put(before)
        _write(member, put)
        before = ", "
    put("]" if value else "[]")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"expected a number, got {name}")
