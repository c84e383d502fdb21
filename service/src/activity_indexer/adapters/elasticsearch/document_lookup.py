"""Reads documents by updates that change nothing: the only read that the primary shard itself answers.

A GET may be answered by a replica that has not got yet what the primary refused a write for. The request goes where
writes go, and needs no right to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from activity_indexer.errors import Refused, Unavailable
from activity_indexer.ports import BulkReply, Stored

_encode: Final = msgspec.json.Encoder().encode
_NO_CHANGE: Final = b'{"doc":{},"_source":true}\n'
_PASSING: Final = frozenset({408, 409, 429, 500, 502, 503, 504})


class _Get(msgspec.Struct, gc=False):
    source: Raw = msgspec.field(name="_source", default=Raw())


class _Update(msgspec.Struct, gc=False):
    status: int
    index: str = msgspec.field(name="_index", default="")
    version: int = msgspec.field(name="_version", default=0)
    get: _Get = msgspec.field(default_factory=_Get)
    error: Raw = Raw()


class _Action(msgspec.Struct, gc=False):
    update: _Update


class _Answer(msgspec.Struct, gc=False):
    items: list[_Action]


_answer: Final = msgspec.json.Decoder(_Answer).decode


def lookup_body(identifiers: Sequence[str]) -> bytes:
    """The bulk request that asks for these documents."""
    return b"".join([b'{"update":{"_id":%b}}\n%b' % (_encode(each), _NO_CHANGE) for each in identifiers])


def found_documents(identifiers: Sequence[str], reply: BulkReply, written: str = "") -> Mapping[str, Stored]:
    """Those of the documents that the answer has. Raises Unavailable, or Refused when an operator has to act.

    `written` is the index that took the writes. Another one that has taken its place meanwhile lacks documents that
    exist, and must not be believed.
    """
    if reply.status != 200:
        raise _failure(reply.status, reply.body)
    try:
        items = [action.update for action in _answer(reply.body).items]
    except (ValueError, RecursionError) as error:
        raise Unavailable(f"Elasticsearch: unexpected answer to a lookup of documents: {error}") from None
    if len(items) != len(identifiers):
        raise Unavailable(f"Elasticsearch: expected {len(identifiers)} documents, got {len(items)}")
    for item in items:
        if item.status not in (200, 404) or (item.status == 404 and b"document_missing" not in bytes(item.error)):
            raise _failure(item.status, bytes(item.error))
        if written and item.index != written:
            raise Unavailable(f"Elasticsearch: expected documents of index {written}, got those of {item.index}")
    found = zip(identifiers, items, strict=True)
    return {each: Stored(item.version, bytes(item.get.source)) for each, item in found if item.status == 200}


def _failure(status: int, body: bytes) -> Unavailable | Refused:
    kind = Unavailable if status in _PASSING else Refused
    return kind(f"Elasticsearch answers {status} to a lookup of documents: {body[:200].decode(errors='replace')}")
