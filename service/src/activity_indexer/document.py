"""The document: the transaction's own bytes with what the indexer adds, and the index that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from activity_indexer.event import DELETED, RANKS, Event, Order, Position
from activity_indexer.ports import Enriched
from activity_indexer.timestamps import parse_nanoseconds

encode: Final = msgspec.json.Encoder(decimal_format="number").encode

NOT_DELETED: Final[dict[str, Any]] = {"bool": {"must_not": {"exists": {"field": "_deleted_at"}}}}
"""The alias' filter: searches do not see tombstones."""

VERSION_SCALE: Final = "activity_indexer_version_scale"
"""Key of the mapping's _meta that says how the versions of the documents are counted."""

CURRENT_SCALE: Final = 2
"""Versions with room for ties; those of an index without the key are smaller by 256."""

MAX_KEYWORD: Final = 8191
"""Characters of a keyword that is indexed: four bytes each stay below Lucene's limit of 32,766 bytes a term."""


def index_line(transaction_id: str, version: int) -> bytes:
    """The action line of a bulk request, without its line break."""
    return b'{"index":{"_id":%b,"version":%d,"version_type":"external"}}' % (encode(transaction_id), version)


def live_document(event: Event, enriched: Enriched, now: bytes, trace_id: bytes | None = None) -> bytes:
    """The two lines of a bulk request that write a live document.

    `now` is the time of enrichment, RFC 3339; `trace_id` the trace that the event belongs to, if any. What is bytes
    already is joined as it is, and what has to be formatted is formatted as text, in one piece between two of those.
    """
    position = event.position
    source = "" if event.source is None else f'"source":{encode(event.source).decode()},'
    added = (
        f',"event_type":"{event.event_type}",{source}"_updated_at":"{event.updated_at}",'
        f'"_position":"{position.published}:{position.partition}:{position.offset}",'
        f'"_enriched":{"true" if enriched.ran else "false"},"_enriched_at":"'
    )
    return b"".join(
        (
            index_line(event.transaction.id, event.version),
            b"\n",
            event.body[:-1],
            added.encode(),
            now,
            b'","_trace_id":"%b","enrichment":' % trace_id if trace_id else b'","enrichment":',
            enriched.fields,
            b',"search_content":',
            enriched.search_content,
            b"}\n",
        )
    )


def tombstone(event: Event) -> bytes:
    """The two lines of a bulk request that put a tombstone in the document's place."""
    transaction = event.transaction
    return b'%b\n{"id":%b,"user_id":%b,"_deleted_at":"%b","_position":"%d:%d:%d"}\n' % (
        index_line(transaction.id, event.version),
        encode(transaction.id),
        encode(transaction.user_id),
        event.updated_at.encode(),
        *event.position,
    )


class _Stored(msgspec.Struct, gc=False):
    event_type: str = ""
    updated_at: str = msgspec.field(name="_updated_at", default="")
    deleted_at: str = msgspec.field(name="_deleted_at", default="")
    position: str = msgspec.field(name="_position", default="")
    user_id: str = ""


_stored: Final = msgspec.json.Decoder(_Stored).decode


ORDER_FIELDS: Final = ("event_type", "_updated_at", "_deleted_at", "_position")
"""Fields of a document that give the order of the event that wrote it."""


def order_of(source: bytes) -> Order | None:
    """The order of the event that wrote a document or tombstone; None of one that no event wrote."""
    try:
        found = _stored(source)
        event_type = DELETED if found.deleted_at else found.event_type
        timestamp = parse_nanoseconds(found.deleted_at or found.updated_at)
        return Order(timestamp, RANKS[event_type], Position.read(found.position))
    except (ValueError, KeyError, RecursionError):
        return None


def holds(source: bytes, event: Event) -> bool:
    """Whether a document or tombstone says what the event says, whatever the timestamps and positions are."""
    if not event.deleted:
        reported = b"" if event.source is None else b'"source":%b,' % encode(event.source)
        return source.startswith(
            b'%b,"event_type":"%b",%b"_updated_at":' % (event.body[:-1], event.event_type.encode(), reported)
        )
    try:
        found = _stored(source)
    except (ValueError, RecursionError):
        return False
    return bool(found.deleted_at) and found.user_id == event.transaction.user_id


def with_version(lines: bytes, transaction_id: str, version: int) -> bytes:
    """The two lines of a bulk request, with another version."""
    return index_line(transaction_id, version) + lines[lines.index(b"\n") :]


def _keyword() -> dict[str, Any]:
    return {"type": "keyword", "ignore_above": MAX_KEYWORD}


def mappings(enrichment: Mapping[str, Any]) -> dict[str, Any]:
    """The explicit, closed mapping; `enrichment` are the properties that the strategies declare."""
    date = {"type": "date", "ignore_malformed": True}
    return {
        "_meta": {VERSION_SCALE: CURRENT_SCALE},
        "dynamic": False,
        "properties": {
            "id": _keyword(),
            "user_id": _keyword(),
            "transaction_type": _keyword(),
            "product": _keyword(),
            "status": _keyword(),
            "currency": _keyword(),
            "amount": {"type": "double"},
            "created_at": date,
            "metadata": {"type": "flattened", "ignore_above": MAX_KEYWORD // 8},
            "event_type": _keyword(),
            "source": _keyword(),
            "_updated_at": date,
            "_enriched": {"type": "boolean"},
            "_enriched_at": date,
            "_deleted_at": date,
            "_trace_id": _keyword(),
            "enrichment": {"type": "object", "dynamic": False, "properties": dict(enrichment)},
            "search_content": {"type": "text", "analyzer": "folded"},
        },
    }


def settings(shards: int, replicas: int, refresh_interval: str) -> dict[str, Any]:
    """Settings of a new index: `folded` makes queries match as search_content was written."""
    return {
        "number_of_shards": shards,
        "number_of_replicas": replicas,
        "refresh_interval": refresh_interval,
        "analysis": {
            "filter": {"without_accents": {"type": "asciifolding"}},
            "analyzer": {
                "folded": {"type": "custom", "tokenizer": "standard", "filter": ["lowercase", "without_accents"]}
            },
        },
    }
