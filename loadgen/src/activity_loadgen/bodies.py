"""Compares a document with the transaction that was sent, number for number as text."""

import json
from typing import Any, Final

import msgspec

MAX_SHOWN: Final = 60


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


class _Event(msgspec.Struct):
    transaction: msgspec.Raw


def transaction_of(value: bytes) -> bytes:
    """The transaction's own JSON out of an event's.

    Raises:
        msgspec.MsgspecError: when the value is not an event.
    """
    return bytes(msgspec.json.decode(value, type=_Event).transaction)


def differences(sent: bytes, found: bytes) -> list[str]:
    """What the document `found` has otherwise than the transaction `sent`; fields it adds do not count."""
    fields = dict[str, msgspec.Raw]
    wanted, actual = msgspec.json.decode(sent, type=fields), msgspec.json.decode(found, type=fields)
    return [
        _describe(name, raw, actual.get(name))
        for name, raw in wanted.items()
        if not _same(bytes(raw), actual.get(name))
    ]


def _same(sent: bytes, found: msgspec.Raw | None) -> bool:
    if found is None:
        return False
    return sent == bytes(found) or _exact(sent) == _exact(bytes(found))


def _exact(raw: bytes) -> Any:
    return json.loads(raw, parse_float=_Number, parse_int=_Number)


def _describe(name: str, sent: msgspec.Raw, found: msgspec.Raw | None) -> str:
    return f"{name}: sent {_short(sent)}, found {'nothing' if found is None else _short(found)}"


def _short(raw: msgspec.Raw) -> str:
    text = bytes(raw).decode()
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
