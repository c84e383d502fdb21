"""What a difference between audit and index is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Raw

from activity_indexer.adapters.elasticsearch.index_reader import Stored
from activity_indexer.adapters.postgres.audit_reader import Kept
from activity_indexer.document import order_of
from activity_indexer.errors import EventError
from activity_indexer.event import EVENT_TYPES, base_version, event_version
from activity_indexer.pipeline.decode import OWN_FIELDS
from activity_indexer.rewrite.writer import event_of


class Kind(StrEnum):
    """How audit and index differ in a transaction."""

    MISSING = "missing"
    """Live in the audit, absent in the index."""
    OLDER = "older"
    """The index has an older event than the audit."""
    DIFFERENT = "different"
    """The same event, but not the same content."""
    EXTRA = "extra"
    """In the index, unknown to the audit."""
    NEWER = "newer"
    """The index has a newer event than the audit."""


REPAIRABLE: Final = frozenset({Kind.MISSING, Kind.OLDER, Kind.DIFFERENT})
"""What the audit knows better than the index."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A transaction in which audit and index differ; the versions are event versions, None where it is missing."""

    kind: Kind
    id: str
    audit: int | None
    index: int | None


_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_plain: Final = msgspec.json.Decoder().decode


def difference(kept: Kept | None, stored: Stored | None) -> Difference | None:
    """How they differ, if they do. A deleted transaction without a tombstone is none: tombstones are purged in time."""
    if kept is None:
        return None if stored is None else Difference(Kind.EXTRA, stored.id, None, stored.version)
    if stored is None:
        return None if kept.deleted else Difference(Kind.MISSING, kept.id, kept.version, None)
    kind = _kind(kept, stored)
    return Difference(kind, kept.id, kept.version, stored.version) if kind else None


def _kind(kept: Kept, stored: Stored) -> Kind | None:
    version = base_version(stored.version)
    if version != kept.version:
        return Kind.OLDER if version < kept.version else Kind.NEWER
    if same_content(kept, stored.source):
        return None
    theirs = order_of(stored.source)
    if theirs is None or theirs == kept.order or event_version(EVENT_TYPES[theirs.rank], theirs.timestamp) != version:
        return Kind.DIFFERENT
    return Kind.OLDER if theirs < kept.order else Kind.NEWER


def same_content(kept: Kept, source: bytes) -> bool:
    """Whether a document holds the transaction that the audit has; what the enrichment added does not count."""
    if kept.body is not None and source.startswith(_beginning(kept)):
        return True
    try:
        fields = _fields(source)
        if kept.deleted:
            return "_deleted_at" in fields
        return "_deleted_at" not in fields and (kept.body is None or _same_fields(kept, fields))
    except (ValueError, RecursionError):
        return False


def _beginning(kept: Kept) -> bytes:
    """How the indexer begins a document: the transaction's own bytes, and the event's type."""
    body, event_type = kept.body or b"", kept.event_type or ""
    return body[:-1] + b',"event_type":"' + event_type.encode() + b'"'


def _same_fields(kept: Kept, fields: dict[str, Raw]) -> bool:
    """The canonical form: fields by name, numbers by their digits. Field order and blanks do not count."""
    if _plain(fields.get("event_type", Raw(b"null"))) != kept.event_type:
        return False
    wanted = _fields(_written(kept))
    found = {name: raw for name, raw in fields.items() if name.partition(".")[0] not in OWN_FIELDS}
    return wanted.keys() == found.keys() and all(_same(wanted[name], found[name]) for name in wanted)


def _written(kept: Kept) -> bytes:
    """The transaction as the indexer writes it: an older release kept it as it came."""
    try:
        event = event_of(kept)
    except EventError:
        event = None
    return event.body if event else kept.body or b"{}"


def _same(one: Raw, other: Raw) -> bool:
    return bytes(one) == bytes(other) or canonical(bytes(one)) == canonical(bytes(other))


def canonical(text: bytes) -> Any:
    """A JSON value to compare with another: numbers with a fraction keep their digits, the order of fields is lost."""
    return _exact(text)


def _digits(text: str) -> tuple[str]:
    """What no other JSON value is equal to."""
    return (text,)


_exact: Final = msgspec.json.Decoder(float_hook=_digits).decode
