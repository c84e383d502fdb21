"""From the bytes of a record's value to an event, or to the reason why there is none."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Final, NoReturn

import msgspec
from msgspec import Raw

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
from activity_indexer.origin import position_of
from activity_indexer.ports import Record, UndecodedRecord
from activity_indexer.timestamps import (
    format_nanoseconds,
    is_plain,
    is_searchable,
    parse_nanoseconds,
    parse_plain,
    shorten,
)

MAX_ID_BYTES: Final = 512
MAX_AMOUNT_CHARACTERS: Final = 256
MIN_AMOUNT_EXPONENT: Final = -999
OWN_FIELDS: Final = frozenset(
    {
        "_deleted_at",
        "_enriched",
        "_enriched_at",
        "_position",
        "_trace_id",
        "_updated_at",
        "enrichment",
        "event_type",
        "search_content",
        "source",
    }
)
"""Root fields that the indexer writes: those of an event give way to them, also in names such as `enrichment.sign`."""

MAPPED_FIELDS: Final = frozenset(
    {
        "amount",
        "created_at",
        "currency",
        "id",
        "product",
        "status",
        "transaction_type",
        "user_id",
    }
)
"""Root fields of a transaction with one value: Elasticsearch would take `id.` for another one. In `metadata.a` it sees
what it sees in `{"metadata":{"a":…}}`, which is what a producer means by it."""

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
    source: str | None = None


class _Whole(Transaction, frozen=True, gc=False, kw_only=True):
    """What a created or updated event must carry."""

    transaction_type: str
    status: str
    currency: str
    amount: Raw
    created_at: str


class _Deleted(msgspec.Struct, gc=False):
    id: str
    user_id: str


_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_whole: Final = msgspec.json.Decoder(_Whole).decode
_deleted: Final = msgspec.json.Decoder(_Deleted).decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_EXPONENT: Final = re.compile(rb"[eE]([+-]?\d+)\Z")


def decode_record(record: Record, latest: int) -> Event | EventError:
    """The event in a record, or why there is none; `latest` as for decode_event. Raises nothing."""
    if type(record) is UndecodedRecord:
        return record.error
    try:
        return decode_event(record.value, latest, position_of(record))
    except EventError as error:
        return error.kept()


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
        return _event(value, envelope, latest, position)
    except EventError:
        raise
    except (ValueError, RecursionError) as error:
        _refuse(error)


def _event(value: bytes, envelope: _Envelope, latest: int, position: Position) -> Event:
    event_type = envelope.event_type
    if event_type not in RANKS:
        known = ", ".join(RANKS)
        raise ValidationError("unknown_event_type", f"expected event_type {known}, got {shorten(event_type)!r}")
    plain = is_plain(envelope.timestamp)
    timestamp = _timestamp(envelope.timestamp, latest, plain=plain)
    body = bytes(envelope.transaction)
    if event_type == DELETED:
        transaction = _removed(value, body)
        body = b""
    else:
        transaction = _upserted(body, envelope.timestamp)
        body, transaction = _written(value, body, transaction, envelope, plain=plain)
    _check_identity(transaction)
    return Event(
        event_type,
        transaction,
        body,
        timestamp,
        envelope.timestamp if plain else format_nanoseconds(timestamp),
        event_version(event_type, timestamp),
        position,
        envelope.source,
    )


def _timestamp(text: str, latest: int, *, plain: bool) -> int:
    try:
        timestamp = parse_plain(text) if plain else parse_nanoseconds(text)
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


def _removed(value: bytes, body: bytes) -> Transaction:
    found = _deleted(body)
    _check_unique(value, "")
    _check_unique(body, "transaction.")
    return Transaction(id=found.id, user_id=found.user_id)


def _upserted(body: bytes, parsed: str) -> _Whole:
    transaction = _whole(body)
    _check_amount(bytes(transaction.amount).strip())
    metadata = bytes(transaction.metadata).strip()
    if metadata and metadata[0] not in b"{n" and not _is_empty_array(metadata):
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


def _written(
    value: bytes, body: bytes, transaction: _Whole, envelope: _Envelope, *, plain: bool
) -> tuple[bytes, _Whole]:
    """The object as it is written to the document, in one line, and the transaction in it.

    `plain` says that the envelope's timestamp is. Valid JSON has raw line breaks between tokens only, so a blank can
    stand for each.
    """
    metadata = bytes(transaction.metadata)
    created_at = transaction.created_at
    changed: dict[str, Raw] = {}
    if metadata[:1] == b"[":  # what PHP makes of an empty map
        changed["metadata"] = Raw(b"{}")
    if not ((plain and created_at == envelope.timestamp) or is_searchable(created_at)):
        changed["created_at"] = Raw(_encode(_normal(created_at)))
    if changed or value.count(b'"') != _quotes(transaction, metadata, envelope):
        _check_unique(value, "")
        body = _rewritten(body, changed)
        if "metadata" in changed:
            transaction = msgspec.structs.replace(transaction, metadata=changed["metadata"])
    return body.replace(b"\n", b" ") if b"\n" in body else body, transaction


def _quotes(transaction: _Whole, metadata: bytes, envelope: _Envelope) -> int:
    """Quotation marks of an event that has no other names than those it must have, each once, and no escaped quotes.

    Each name and each string has at least two: so if there are as many as this, there is nothing else to look for.
    """
    return (
        36
        + (0 if envelope.source is None else 4)
        + (0 if transaction.product is None else 4)
        + (2 + metadata.count(b'"') if metadata else 0)
    )


def _rewritten(body: bytes, changed: dict[str, Raw]) -> bytes:
    """The object without the fields that the indexer writes itself, and with changed values."""
    fields = _fields(body)
    if reserved := [name for name in fields if "." in name or name in METADATA_FIELDS]:
        _check_names(reserved)
    own = [name for name in fields if name.partition(".")[0] in OWN_FIELDS]
    if not own and not changed:
        return body
    _check_unique(body, "transaction.")
    kept = {name: raw for name, raw in fields.items() if name not in own}
    return _encode({**kept, **changed})


def _check_names(names: list[str]) -> None:
    if taken := [name for name in names if name.partition(".")[0] in METADATA_FIELDS]:
        raise ValidationError(
            "reserved_field", f"{', '.join(sorted(taken))}: Elasticsearch keeps this name for itself; rename the field"
        )
    for name in names:
        field = name.partition(".")[0]
        if field in MAPPED_FIELDS:
            raise ValidationError(
                "reserved_field",
                f"{shorten(name)}: Elasticsearch would take it for a part of {field}; rename the field",
            )


def _check_unique(text: bytes, place: str) -> None:
    """Refuse an object that has a name twice: readers do not agree on which value counts.

    Each name and each string has two quotation marks, and a name that came before is not among the fields.
    """
    fields = _fields(text)
    quotes = sum(2 + name.count('"') + bytes(raw).count(b'"') for name, raw in fields.items())
    if quotes == text.count(b'"'):
        return
    names = Counter(name for name, _ in json.loads(text, object_pairs_hook=list, parse_int=str, parse_float=str))
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ValidationError("duplicate_field", f"{place}{shorten(repeated[0])}: expected the name once, got it twice")


def _is_empty_array(text: bytes) -> bool:
    return text[:1] == b"[" and not text[1:-1].strip()


def _normal(created_at: str) -> str:
    try:
        return format_nanoseconds(parse_nanoseconds(created_at))
    except OverflowError:
        raise ValidationError(
            "invalid_timestamp", f"created_at: expected a year from 1 to 9999 in UTC, got {shorten(created_at)!r}"
        ) from None


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
