"""Events no consumer can accept, one kind for each way producers have been seen to break."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

Document = dict[str, Any]
Breaker = Callable[[Document], bytes | None]

NESTING_DEPTH: Final = 20_000
OVERLONG_ID_BYTES: Final = 513
OVERLONG_DIGITS: Final = 300

_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _with(event: Document, **fields: object) -> bytes:
    return _encode({**event, **fields})


def _in_transaction(event: Document, **fields: object) -> bytes:
    return _encode({**event, "transaction": {**event["transaction"], **fields}})


def _without(event: Document, *names: str) -> bytes:
    return _encode({key: value for key, value in event.items() if key not in names})


def _transaction_without(event: Document, name: str) -> bytes:
    transaction = {key: value for key, value in event["transaction"].items() if key != name}
    return _encode({**event, "transaction": transaction})


def _truncated(event: Document) -> bytes:
    value = _encode(event)
    return value[: len(value) * 2 // 3]


def _invalid_utf8(event: Document) -> bytes:
    return _in_transaction(event, product="broken-here").replace(b"broken-here", b"broken-\xff\xfe")


INVALID_KINDS: Final[dict[str, Breaker]] = {
    "null_value": lambda _: None,
    "empty_value": lambda _: b"",
    "not_json": lambda _: b"transaction created, all well",
    "truncated": _truncated,
    "two_documents": lambda event: _encode(event) + _encode(event),
    "utf16": lambda event: _encode(event).decode().encode("utf-16"),
    "invalid_utf8": _invalid_utf8,
    "nested_too_deep": lambda _: b"[" * NESTING_DEPTH + b"]" * NESTING_DEPTH,
    "root_is_array": lambda event: _encode([event]),
    "root_is_text": lambda _: b'"transaction.created"',
    "missing_event_type": lambda event: _without(event, "event_type"),
    "unknown_event_type": lambda event: _with(event, event_type="transaction.exploded"),
    "missing_timestamp": lambda event: _without(event, "timestamp"),
    "unreadable_timestamp": lambda event: _with(event, timestamp="the day before yesterday"),
    "impossible_timestamp": lambda event: _with(event, timestamp="2024-13-45T12:00:00Z"),
    "far_future_timestamp": lambda event: _with(event, timestamp="9999-12-31T23:59:59Z"),
    "missing_transaction": lambda event: _without(event, "transaction"),
    "transaction_is_text": lambda event: _with(event, transaction="tx-1"),
    "missing_id": lambda event: _transaction_without(event, "id"),
    "null_id": lambda event: _in_transaction(event, id=None),
    "empty_id": lambda event: _in_transaction(event, id=""),
    "numeric_id": lambda event: _in_transaction(event, id=42),
    "overlong_id": lambda event: _in_transaction(event, id="x" * OVERLONG_ID_BYTES),
    "missing_user_id": lambda event: _transaction_without(event, "user_id"),
    "empty_user_id": lambda event: _in_transaction(event, user_id=""),
    "missing_status": lambda event: _transaction_without(event, "status"),
    "missing_currency": lambda event: _transaction_without(event, "currency"),
    "missing_amount": lambda event: _transaction_without(event, "amount"),
    "missing_created_at": lambda event: _transaction_without(event, "created_at"),
    "text_amount": lambda event: _in_transaction(event, amount="12.50"),
    "nan_amount": lambda event: _in_transaction(event, amount=_raw("NaN")),
    "infinite_amount": lambda event: _in_transaction(event, amount=_raw("-Infinity")),
    "overflowing_amount": lambda event: _in_transaction(event, amount=_raw("1e400")),
    "text_metadata": lambda event: _in_transaction(event, metadata="none"),
    "reserved_field": lambda event: _in_transaction(event, _version=7),
}
"""Reason → what makes such a value out of a valid event (`None` is a record without a value)."""


HOSTILE_KINDS: Final[dict[str, Breaker]] = {
    "repeated_event_type": lambda event: b'{"event_type":"transaction.deleted",' + _encode(event)[1:],
    "repeated_timestamp": lambda event: _encode(event)[:-1] + b',"timestamp":"2020-01-01T00:00:00Z"}',
    "repeated_id": lambda event: _encode(event).replace(b'"transaction":{', b'"transaction":{"id":"another",', 1),
    "lone_surrogate": lambda event: _in_transaction(event, id=_raw('"\\ud800"')),
    "overlong_amount": lambda event: _in_transaction(event, amount=_raw("1" * OVERLONG_DIGITS)),
    "list_metadata": lambda event: _in_transaction(event, metadata=["x"]),
    "impossible_day": lambda event: _with(event, timestamp="2024-02-30T12:00:00Z"),
}
"""Further kinds, which come only when they are named: the default choice and so a seed's bytes stay the same."""

ALL_KINDS: Final = {**INVALID_KINDS, **HOSTILE_KINDS}


def break_event(kind: str, value: bytes) -> bytes | None:
    """The value of an invalid event of that kind, made out of a valid event's; what stays keeps its bytes.

    Raises:
        KeyError: when there is no such kind.
    """
    event: Document = dict(_decode(value))
    event["transaction"] = _decode(event["transaction"])
    return ALL_KINDS[kind](event)
