"""What a payload says about its event, whatever state it is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw

MAX_SEARCHED: Final = 65_536
"""Bytes of a damaged payload that are searched for its event's names."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What users look a dead letter up by; empty where the payload does not say it.

    A value that is no string is its JSON text. `timestamp` is the event's, as it is written there. `user_id` is the
    record's key when the payload has none: producers key by user.
    """

    event_type: str = ""
    transaction_id: str = ""
    user_id: str = ""
    timestamp: str = ""


class _Envelope(msgspec.Struct, gc=False):
    event_type: Raw = Raw()
    transaction: Raw = Raw()
    timestamp: Raw = Raw()


class _Transaction(msgspec.Struct, gc=False):
    id: Raw = Raw()
    user_id: Raw = Raw()


_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_transaction: Final = msgspec.json.Decoder(_Transaction).decode
_string: Final = msgspec.json.Decoder(str).decode
_NOTHING: Final = _Transaction()
_NAMED: Final = re.compile(rb'"(event_type|id|user_id|timestamp)"\s*:\s*("(?:[^"\\]|\\.){0,2048}")')


def read_facts(value: bytes | None, key: bytes | None) -> Facts:
    """The facts of a payload; never raises. A payload that is no JSON is searched for what its beginning names."""
    try:
        envelope = _envelope(value or b"")
    except (ValueError, RecursionError):
        return _searched(value or b"", key)
    transaction = _read_transaction(envelope.transaction)
    return Facts(
        _text(envelope.event_type),
        _text(transaction.id),
        _text(transaction.user_id) or _key(key),
        _text(envelope.timestamp),
    )


def _read_transaction(raw: Raw) -> _Transaction:
    try:
        return _transaction(raw)
    except (ValueError, RecursionError):
        return _NOTHING


def _searched(value: bytes, key: bytes | None) -> Facts:
    found: dict[bytes, str] = {}
    for match in _NAMED.finditer(value, 0, MAX_SEARCHED):
        found.setdefault(match[1], _text(match[2]))
    return Facts(
        found.get(b"event_type", ""),
        found.get(b"id", ""),
        found.get(b"user_id", "") or _key(key),
        found.get(b"timestamp", ""),
    )


def _text(raw: Raw | bytes) -> str:
    text = bytes(raw).strip()
    if not text or text == b"null":
        return ""
    try:
        return _string(text)
    except ValueError:
        return text.decode(errors="replace")


def _key(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")
