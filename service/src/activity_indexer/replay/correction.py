"""Corrections of dead letters on their way back; each number keeps the digits that it came with."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, NoReturn, Protocol

import jsonpatch
import jsonpointer

from activity_indexer.errors import ActivityIndexerError, ValidationError
from activity_indexer.event import UNKNOWN_POSITION, Event, Position
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.timestamps import shorten


class WrongCorrection(ActivityIndexerError):
    """What was given is no correction at all."""


class Correction(Protocol):
    """A change to values; `fingerprint` is 16 hexadecimal digits."""

    @property
    def fingerprint(self) -> str:
        """The same for the same change."""

    def apply(self, value: bytes | None) -> bytes:
        """The corrected value. Raises EventError when it cannot be changed like this."""


def parse_correction(text: bytes) -> Correction:
    """A merge patch (RFC 7396) from an object, a JSON Patch (RFC 6902) from an array. Raises WrongCorrection."""
    try:
        patch = read_json(text)
    except (ValueError, RecursionError) as error:
        raise WrongCorrection(f"the correction is no JSON: {error}") from error
    if isinstance(patch, dict):
        return MergePatch(patch, _digest(b"merge", text))
    if isinstance(patch, list):
        return JsonPatch(patch, _digest(b"patch", text))
    raise WrongCorrection(
        "expected a correction that is an object (a JSON merge patch) or an array (a JSON Patch), "
        f"got {shorten(text.decode(errors='replace').strip(), 40)}"
    )


def corrected(
    correction: Correction, value: bytes | None, latest: int, position: Position = UNKNOWN_POSITION
) -> tuple[bytes, Event]:
    """The corrected value, and the event that it is by the indexer's own rules.

    `latest` and `position` are as for decode_event. Raises EventError.
    """
    found = correction.apply(value)
    return found, decode_event(found, latest, position)


class MergePatch:
    """RFC 7396: what the patch names is replaced, null removes."""

    def __init__(self, patch: dict[str, Any], fingerprint: str) -> None:
        self._patch = patch
        self.fingerprint = fingerprint

    def apply(self, value: bytes | None) -> bytes:
        """The merged value."""
        return _written(_merged(_read(value), self._patch))


class JsonPatch:
    """RFC 6902: operations, all of them or none."""

    def __init__(self, operations: list[Any], fingerprint: str) -> None:
        try:
            jsonpatch.JsonPatch(copy.deepcopy(operations))
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as error:
            raise WrongCorrection(f"the correction is no JSON Patch: {error}") from error
        self._operations = operations
        self.fingerprint = fingerprint

    def apply(self, value: bytes | None) -> bytes:
        """The patched value; a `test` that fails is an error, too."""
        document = _read(value)
        try:
            changed = jsonpatch.JsonPatch(copy.deepcopy(self._operations)).apply(document, in_place=True)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, LookupError, TypeError) as error:
            reason = shorten(str(error) or type(error).__name__, 200)
            raise ValidationError("correction_failed", f"the JSON Patch does not fit: {reason}") from None
        return _written(changed)


class Replacement:
    """A value that a user wrote in an editor."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self.fingerprint = _digest(b"value", value)

    def apply(self, value: bytes | None) -> bytes:  # noqa: ARG002 - whatever was there
        """The new value."""
        return self._value


def _read(value: bytes | None) -> Any:
    try:
        return read_json(value or b"")
    except (ValueError, RecursionError) as error:
        raise ValidationError("correction_failed", f"cannot correct what is no JSON: {error}") from None


def _written(value: Any) -> bytes:
    try:
        return write_json(value)
    except (ValueError, RecursionError) as error:
        raise ValidationError("correction_failed", f"the corrected value is no JSON: {error}") from None


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    found = target if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = _merged(found.get(name), value)
    return found


def _digest(kind: bytes, text: bytes) -> str:
    return hashlib.blake2b(kind + b":" + text, digest_size=8).hexdigest()


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
