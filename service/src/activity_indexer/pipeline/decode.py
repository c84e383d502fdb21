"""From the bytes of a record's value to an event, or to the reason why there is none."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Annotated, Final

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
    is_date,
    is_searchable,
    parse_nanoseconds,
    plain_nanoseconds,
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


class _Usual(_Whole, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A transaction that carries nothing else, and that can be distinguished from others."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES // 4)]
    user_id: Annotated[str, msgspec.Meta(min_length=1)]


class _Deleted(msgspec.Struct, gc=False):
    id: str
    user_id: str


_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_whole: Final = msgspec.json.Decoder(_Whole).decode
_usual: Final = msgspec.json.Decoder(_Usual).decode
_deleted: Final = msgspec.json.Decoder(_Deleted).decode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_LINE_BREAK: Final = 10
_LONGEST_FRAME: Final = len('{"event_type":"","transaction":,"timestamp":"","source":""}') + len(',"":1,"":1') - 1
"""Bytes of an envelope without its values, in which no name can stand twice: there may be a blank behind each colon and
comma, but there is no place for two names more, nor for one that is known."""

_NO_OTHER_METADATA: Final = (b"{", b"", b"n")
"""How metadata begins: an object, nothing, or null."""
_EXPONENT: Final = re.compile(rb"[eE]([+-]?\d+)\Z")


def decode_record(record: Record, latest: int) -> Event | EventError:
    """The event in a record, or why there is none; `latest` is as for decode_event. Raises nothing."""
    if type(record) is UndecodedRecord:
        return record.error
    return _decoded(record.value, latest, position_of(record))


def decode_event(value: bytes | None, latest: int, position: Position = UNKNOWN_POSITION) -> Event:
    """The event in a record's value.

    `latest` is the greatest timestamp that is believed, in microseconds since the epoch; `position` is the record's.
    Raises DecodeError when the value is not JSON, ValidationError when it is not an event.
    """
    found = _decoded(value, latest, position)
    if isinstance(found, EventError):
        raise found
    return found


def _decoded(value: bytes | None, latest: int, position: Position) -> Event | EventError:
    """The event, or why there is none.

    Nearly all events are valid and have nothing unusual in them: `_usual_transaction` finds that out, and only the
    others go through the checks one by one (`_checked`), with the same result. Each check returns what is wrong: in a
    storm of invalid events, raising it would cost more than finding it.
    """
    if not value:
        return DecodeError("empty_value", "expected a JSON object, got an empty value")
    try:
        if not value.isascii():
            value.decode()
        return _event(value, _envelope(value), latest, position)
    except (ValueError, RecursionError) as error:
        return _refusal(error)


def _event(value: bytes, envelope: _Envelope, latest: int, position: Position) -> Event | ValidationError:
    event_type, written = envelope.event_type, envelope.timestamp
    if event_type not in RANKS:
        known = ", ".join(RANKS)
        return ValidationError("unknown_event_type", f"expected event_type {known}, got {shorten(event_type)!r}")
    timestamp = plain = plain_nanoseconds(written)
    if timestamp is None:
        try:
            timestamp = parse_nanoseconds(written)
        except ValueError as error:
            return ValidationError("invalid_timestamp", f"timestamp: {error}")
    if not 0 < timestamp <= LAST_TIMESTAMP or timestamp > latest * 1000:
        return _not_believed(written, timestamp)
    body = bytes(envelope.transaction)
    transaction = None if event_type == DELETED else _usual_transaction(value, body, envelope, plain)
    if transaction is None:
        found = _removed(value, body, envelope) if event_type == DELETED else _checked(value, body)
        if isinstance(found, ValidationError):
            return found
        transaction, body = found
    if _LINE_BREAK in body:  # valid JSON has them between tokens only, so a blank can stand for each
        body = body.replace(b"\n", b" ")
    return Event(
        event_type,
        transaction,
        body,
        timestamp,
        format_nanoseconds(timestamp) if plain is None else written,
        event_version(event_type, timestamp),
        position,
        envelope.source,
    )


def _not_believed(written: str, timestamp: int) -> ValidationError:
    if timestamp <= 0:
        return ValidationError("timestamp_too_old", f"timestamp: expected a time after 1970, got {shorten(written)!r}")
    return ValidationError(
        "timestamp_in_future",
        f"timestamp: {shorten(written)!r} is further in the future than CONSUMER_MAX_CLOCK_SKEW allows, or after 2255",
    )


def _usual_transaction(value: bytes, body: bytes, envelope: _Envelope, plain: int | None) -> Transaction | None:
    """The transaction of an event that is as it must be, and whose body can be written as it came; when in doubt, None.

    `plain` is the envelope's timestamp if that is plain. Numbers of digits alone are finite.
    """
    try:
        transaction = _usual(body)
    except msgspec.ValidationError:
        return None
    created_at, written = transaction.created_at, envelope.timestamp
    amount = bytes(transaction.amount)
    source = -len(',"source":""') if envelope.source is None else len(envelope.source)
    frame = len(value) - len(body) - len(envelope.event_type) - len(written) - source
    is_usual = (
        frame <= _LONGEST_FRAME
        and ((created_at == written and plain is not None) or is_date(created_at))
        and "\0" not in transaction.id
        and bytes(transaction.metadata)[:1] in _NO_OTHER_METADATA
        and amount.translate(None, b"-.").isdigit()
        and len(amount) <= MAX_AMOUNT_CHARACTERS
    )
    return transaction if is_usual else None


def _checked(value: bytes, body: bytes) -> tuple[Transaction, bytes] | ValidationError:
    """The transaction of a created or updated event, and its object as it is written to the document.

    Fields that the indexer writes itself are left out, and values that Elasticsearch does not read are written in a
    form that it reads.
    """
    transaction: Transaction = _Usual(**msgspec.structs.asdict(_whole(body)))
    metadata, created_at = bytes(transaction.metadata), transaction.created_at
    problem = _amount_problem(bytes(transaction.amount).strip()) or _metadata_problem(metadata.strip())
    if problem:
        return problem
    changed: dict[str, Raw] = {}
    if metadata[:1] == b"[":  # what PHP makes of an empty map
        changed["metadata"] = Raw(b"{}")
    try:
        moment = parse_nanoseconds(created_at)
        if not is_searchable(created_at):
            changed["created_at"] = Raw(_encode(format_nanoseconds(moment)))
    except ValueError as error:
        return ValidationError("invalid_timestamp", f"created_at: {error}")
    except OverflowError:
        reason = f"created_at: expected a year from 1 to 9999 in UTC, got {shorten(created_at)!r}"
        return ValidationError("invalid_timestamp", reason)
    fields = _fields(body)
    own = [name for name in fields if name.partition(".")[0] in OWN_FIELDS]
    problem = (
        _repeated_name(value, "")
        or _reserved_name([name for name in fields if "." in name or name in METADATA_FIELDS])
        or (_repeated_name(body, "transaction.") if own or changed else None)
        or _identity_problem(transaction)
    )
    if problem:
        return problem
    if "metadata" in changed:
        transaction = msgspec.structs.replace(transaction, metadata=changed["metadata"])
    if own or changed:
        body = _encode({**{name: raw for name, raw in fields.items() if name not in own}, **changed})
    return transaction, body


def _removed(value: bytes, body: bytes, envelope: _Envelope) -> tuple[Transaction, bytes] | ValidationError:
    """The transaction of a deletion, which has no body."""
    found = _deleted(body)
    transaction = Transaction(id=found.id, user_id=found.user_id)
    usual = value.count(b'"') - body.count(b'"') == (10 if envelope.source is None else 14)  # no odd names
    problem = (
        (None if usual else _repeated_name(value, ""))
        or _repeated_name(body, "transaction.")
        or _identity_problem(transaction)
    )
    return problem or (transaction, b"")


def _identity_problem(transaction: Transaction) -> ValidationError | None:
    identifier = transaction.id
    if not identifier:
        return ValidationError("empty_field", "id: expected 1 to 512 bytes, got an empty string")
    if len(identifier.encode()) > MAX_ID_BYTES:
        return ValidationError(
            "id_too_long", f"id: expected at most {MAX_ID_BYTES} bytes, got {len(identifier.encode())}"
        )
    if "\0" in identifier:
        return ValidationError("invalid_id", "id: expected no NUL character, got one")
    if not transaction.user_id:
        return ValidationError("empty_field", "user_id: expected a string that is not empty, got an empty one")
    return None


def _amount_problem(text: bytes) -> ValidationError | None:
    if text[0] not in b"-0123456789":
        return ValidationError("wrong_type", f"amount: expected a number, got {_preview(text)}")
    if not math.isfinite(float(text)):
        return ValidationError("amount_not_finite", f"amount: expected a finite number, got {_preview(text)}")
    if len(text) > MAX_AMOUNT_CHARACTERS:
        return ValidationError(
            "amount_too_long", f"amount: expected at most {MAX_AMOUNT_CHARACTERS} characters, got {len(text)}"
        )
    exponent = _EXPONENT.search(text)
    if exponent and int(exponent[1]) < MIN_AMOUNT_EXPONENT:
        return ValidationError(
            "amount_too_small", f"amount: expected an exponent of {MIN_AMOUNT_EXPONENT} or more, got {_preview(text)}"
        )
    return None


def _metadata_problem(text: bytes) -> ValidationError | None:
    if not text or text[0] in b"{n" or _is_empty_array(text):
        return None
    return ValidationError("wrong_type", f"metadata: expected an object, got {_preview(text)}")


def _reserved_name(names: list[str]) -> ValidationError | None:
    if taken := [name for name in names if name.partition(".")[0] in METADATA_FIELDS]:
        return ValidationError(
            "reserved_field", f"{', '.join(sorted(taken))}: Elasticsearch keeps this name for itself; rename the field"
        )
    for name in names:
        field = name.partition(".")[0]
        if field in MAPPED_FIELDS:
            return ValidationError(
                "reserved_field",
                f"{shorten(name)}: Elasticsearch would take it for a part of {field}; rename the field",
            )
    return None


def _repeated_name(text: bytes, place: str) -> ValidationError | None:
    """What is wrong with an object that has a name twice: readers do not agree on which value counts.

    Each name and each string has two quotation marks, and a name that came before is not among the fields.
    """
    fields = _fields(text)
    quotes = 2 * len(fields) + "".join(fields).count('"') + b"".join(fields.values()).count(b'"')
    if quotes == text.count(b'"'):
        return None
    names = Counter(name for name, _ in json.loads(text, object_pairs_hook=list, parse_int=str, parse_float=str))
    repeated = [name for name, count in names.items() if count > 1]
    if not repeated:
        return None
    return ValidationError("duplicate_field", f"{place}{shorten(repeated[0])}: expected the name once, got it twice")


def _is_empty_array(text: bytes) -> bool:
    return text[:1] == b"[" and not text[1:-1].strip()


def _preview(text: bytes) -> str:
    return shorten(text.decode(errors="replace"), 40)


def _refusal(error: ValueError | RecursionError) -> EventError:
    message = str(error)
    if isinstance(error, RecursionError):
        return DecodeError("nested_too_deep", "expected JSON nested less deeply")
    if isinstance(error, UnicodeDecodeError):
        return DecodeError("not_utf8", f"expected UTF-8, {error.reason} at byte {error.start}")
    if isinstance(error, msgspec.ValidationError):
        code = "missing_field" if "missing required field" in message else "wrong_type"
        return ValidationError(code, message)
    return DecodeError("invalid_json", message)
