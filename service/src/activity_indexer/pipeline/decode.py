"""From the bytes of a record's value to an event, or to the reason why there is none."""

from __future__ import annotations

import math
import re
from typing import Final, NoReturn

import msgspec
from msgspec import UNSET, Raw, UnsetType

from activity_indexer.errors import DecodeError, EventError, ValidationError
from activity_indexer.event import (
    DELETED,
    LAST_TIMESTAMP,
    RANKS,
    UNKNOWN_POSITION,
    Event,
    Position,
    Transaction,
    event_version,
)
from activity_indexer.timestamps import format_nanoseconds, is_plain, parse_nanoseconds, shorten

MAX_ID_BYTES: Final = 512
MAX_AMOUNT_CHARACTERS: Final = 256
MIN_AMOUNT_EXPONENT: Final = -999
OWN_FIELDS: Final = frozenset(
    {
        "_deleted_at",
        "_enriched",
        "_enriched_at",
        "_trace_id",
        "_updated_at",
        "enrichment",
        "event_type",
        "search_content",
    }
)
"""Root fields that the indexer writes: those of an event give way to them."""

METADATA_FIELDS: Final = frozenset(
    {
        "_data_stream_timestamp",
        "_doc_count",
        "_field_names",
        "_id",
        "_ignored",
        "_ignored_source",
        "_index",
        "_index_mode",
        "_inference_fields",
        "_nested_path",
        "_routing",
        "_routing_hash",
        "_seq_no",
        "_source",
        "_tsid",
        "_version",
    }
)
"""Root fields that Elasticsearch keeps for itself: a document that has one is refused."""


class _Envelope(msgspec.Struct, gc=False):
    event_type: str
    transaction: Raw
    timestamp: str


class _Whole(Transaction, frozen=True, gc=False, kw_only=True):
    """What a created or updated event must carry; the last three would stand twice in the document."""

    transaction_type: str
    status: str
    currency: str
    amount: Raw
    created_at: str
    event_type: Raw | UnsetType = UNSET
    enrichment: Raw | UnsetType = UNSET
    search_content: Raw | UnsetType = UNSET


class _Deleted(msgspec.Struct, gc=False):
    id: str
    user_id: str


_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_whole: Final = msgspec.json.Decoder(_Whole).decode
_deleted: Final = msgspec.json.Decoder(_Deleted).decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_EXPONENT: Final = re.compile(rb"[eE]([+-]?\d+)\Z")


def decode_event(value: bytes | None, latest: int, position: Position = UNKNOWN_POSITION) -> Event:
    """The event in a record's value.

    `latest` is the greatest timestamp that is believed, in microseconds since the epoch; `position` is the record's.
    Raises DecodeError when the value is not JSON, ValidationError when it is not an event.
    """
    if not value:
        raise DecodeError("empty_value", "expected a JSON object, got an empty value")
    try:
        value.decode()
        envelope = _envelope(value)
        return _event(envelope, latest, position)
    except EventError:
        raise
    except (ValueError, RecursionError) as error:
        _refuse(error)


def _event(envelope: _Envelope, latest: int, position: Position) -> Event:
    event_type = envelope.event_type
    if event_type not in RANKS:
        known = ", ".join(RANKS)
        raise ValidationError("unknown_event_type", f"expected event_type {known}, got {shorten(event_type)!r}")
    timestamp = _timestamp(envelope.timestamp, latest)
    body = bytes(envelope.transaction)
    transaction = _removed(body) if event_type == DELETED else _upserted(body, envelope.timestamp)
    _check_identity(transaction)
    return Event(
        event_type,
        transaction,
        b"" if event_type == DELETED else _one_line(body, transaction),
        timestamp,
        envelope.timestamp if is_plain(envelope.timestamp) else format_nanoseconds(timestamp),
        event_version(event_type, timestamp),
        position,
    )


def _timestamp(text: str, latest: int) -> int:
    try:
        timestamp = parse_nanoseconds(text)
    except ValueError as error:
        raise ValidationError("invalid_timestamp", f"timestamp: {error}") from None
    if timestamp <= 0:
        raise ValidationError("timestamp_too_old", f"timestamp: expected a time after 1970, got {shorten(text)!r}")
    if timestamp > latest * 1000 or timestamp > LAST_TIMESTAMP:
        raise ValidationError(
            "timestamp_in_future",
            f"timestamp: {shorten(text)!r} is further in the future than CONSUMER_MAX_CLOCK_SKEW allows, or after 2255",
        )
    return timestamp


def _removed(body: bytes) -> Transaction:
    found = _deleted(body)
    return Transaction(id=found.id, user_id=found.user_id)


def _upserted(body: bytes, parsed: str) -> _Whole:
    transaction = _whole(body)
    _check_amount(bytes(transaction.amount).strip())
    metadata = bytes(transaction.metadata).strip()
    if metadata and metadata[0] not in b"{n":
        raise ValidationError("wrong_type", f"metadata: expected an object, got {_preview(metadata)}")
    if transaction.created_at != parsed:
        try:
            parse_nanoseconds(transaction.created_at)
        except ValueError as error:
            raise ValidationError("invalid_timestamp", f"created_at: {error}") from None
    return transaction


def _check_identity(transaction: Transaction) -> None:
    identifier = transaction.id
    if not identifier:
        raise ValidationError("empty_field", "id: expected 1 to 512 bytes, got an empty string")
    if len(identifier) > MAX_ID_BYTES // 4 and len(identifier.encode()) > MAX_ID_BYTES:
        raise ValidationError(
            "id_too_long", f"id: expected at most {MAX_ID_BYTES} bytes, got {len(identifier.encode())}"
        )
    if "\0" in identifier:
        raise ValidationError("invalid_id", "id: expected no NUL character, got one")
    if not transaction.user_id:
        raise ValidationError("empty_field", "user_id: expected a string that is not empty, got an empty one")


def _check_amount(text: bytes) -> None:
    if text[0] not in b"-0123456789":
        raise ValidationError("wrong_type", f"amount: expected a number, got {_preview(text)}")
    if not math.isfinite(float(text)):
        raise ValidationError("amount_not_finite", f"amount: expected a finite number, got {_preview(text)}")
    if len(text) > MAX_AMOUNT_CHARACTERS:
        raise ValidationError(
            "amount_too_long", f"amount: expected at most {MAX_AMOUNT_CHARACTERS} characters, got {len(text)}"
        )
    exponent = _EXPONENT.search(text)
    if exponent and int(exponent[1]) < MIN_AMOUNT_EXPONENT:
        raise ValidationError(
            "amount_too_small", f"amount: expected an exponent of {MIN_AMOUNT_EXPONENT} or more, got {_preview(text)}"
        )


def _one_line(body: bytes, transaction: Transaction) -> bytes:
    """The object without line breaks and without the fields that the indexer writes itself.

    Valid JSON has raw line breaks between tokens only, so a blank can stand for each.
    """
    if b"\n" in body:
        body = body.replace(b"\n", b" ")
    assert isinstance(transaction, _Whole)  # noqa: S101 - for the type checker: deleted events have no body
    own = transaction.event_type, transaction.enrichment, transaction.search_content
    if b'"_' in body or b"\\u005" in body or own != (UNSET, UNSET, UNSET):
        return _without_own_fields(body)
    return body


def _without_own_fields(body: bytes) -> bytes:
    fields = _fields(body)
    if taken := METADATA_FIELDS & fields.keys():
        raise ValidationError(
            "reserved_field", f"{', '.join(sorted(taken))}: Elasticsearch keeps this name for itself; rename the field"
        )
    if not OWN_FIELDS & fields.keys():
        return body
    return _encode({name: raw for name, raw in fields.items() if name not in OWN_FIELDS})


def _preview(text: bytes) -> str:
    return shorten(text.decode(errors="replace"), 40)


def _refuse(error: ValueError | RecursionError) -> NoReturn:
    message = str(error)
    if isinstance(error, RecursionError):
        raise DecodeError("nested_too_deep", "expected JSON nested less deeply") from None
    if isinstance(error, UnicodeDecodeError):
        raise DecodeError("not_utf8", f"expected UTF-8, {error.reason} at byte {error.start}") from None
    if isinstance(error, msgspec.ValidationError):
        code = "missing_field" if "missing required field" in message else "wrong_type"
        raise ValidationError(code, message) from None
    raise DecodeError("invalid_json", message) from None
