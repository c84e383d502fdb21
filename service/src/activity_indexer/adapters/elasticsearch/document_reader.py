"""Reads the states of documents by their ids: which version each has, and which event wrote it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

import msgspec
from elastic_transport import ApiError, TransportError
from msgspec import Raw

from activity_indexer.adapters.elasticsearch.transport import JSON, ElasticsearchTransport, mapped
from activity_indexer.adapters.elasticsearch.write_index import AliasMissing, find_write_index
from activity_indexer.dead_letters.document_state import StoredDocument, is_document_id
from activity_indexer.document import ORDER_FIELDS, order_of
from activity_indexer.errors import Unavailable
from activity_indexer.settings import ElasticsearchSettings

MAX_ASKED: Final = 1000
"""Documents that are asked for at once."""

LOOKUP_TIMEOUT: Final = 5.0
"""How long a user waits for an answer about one document (seconds)."""

_QUERY: Final = (
    f"_source_includes={','.join(ORDER_FIELDS)}&filter_path=docs._id,docs._version,docs.found,docs._source,docs.error"
)


class _Document(msgspec.Struct, gc=False):
    identifier: str = msgspec.field(name="_id", default="")
    version: int = msgspec.field(name="_version", default=0)
    found: bool = False
    source: Raw = msgspec.field(name="_source", default=Raw(b"{}"))
    error: Raw = Raw(b"")


class _Answer(msgspec.Struct, gc=False):
    docs: list[_Document] = []


class _Deleted(msgspec.Struct, gc=False):
    at: str | None = msgspec.field(name="_deleted_at", default=None)


_answer: Final = msgspec.json.Decoder(_Answer).decode
_deleted: Final = msgspec.json.Decoder(_Deleted).decode


@asynccontextmanager
async def document_reader(settings: ElasticsearchSettings) -> AsyncIterator[DocumentReader]:
    """A reader that connects when it is asked, and is closed at the end."""
    transport = ElasticsearchTransport(settings)
    try:
        yield DocumentReader(transport, settings.index)
    finally:
        await transport.close()


async def stored_document(settings: ElasticsearchSettings, transaction_id: str) -> StoredDocument | None:
    """The document of a transaction, or its tombstone; None when there is none. Raises Unavailable or Refused."""
    timeout = min(LOOKUP_TIMEOUT, settings.request_timeout)
    async with document_reader(settings.model_copy(update={"request_timeout": timeout})) as reader:
        return (await reader.states([transaction_id])).get(transaction_id)


class DocumentReader:
    """replay.ports.Documents, behind an alias."""

    def __init__(self, transport: ElasticsearchTransport, alias: str) -> None:
        self._transport = transport
        self._alias = alias

    async def states(self, identifiers: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Those that exist, by id; what was written a moment ago counts. Raises Unavailable or Refused."""
        found: dict[str, StoredDocument] = {}
        possible = [each for each in identifiers if is_document_id(each)]
        if not possible:
            return found
        try:
            index = (await find_write_index(self._transport, self._alias)).name
            for at in range(0, len(possible), MAX_ASKED):
                found |= await self._some(index, possible[at : at + MAX_ASKED])
        except AliasMissing:  # there is no index yet, and so nothing in it
            return {}
        except (ApiError, TransportError) as error:
            raise mapped(error) from error
        return found

    async def _some(self, index: str, identifiers: Sequence[str]) -> Mapping[str, StoredDocument]:
        target = f"/{quote(index)}/_mget?{_QUERY}"
        answer = await self._transport.send("POST", target, msgspec.json.encode({"ids": identifiers}), JSON)
        if answer.status == 404:
            return {}
        if answer.status != 200:
            raise answer.error()
        try:
            documents = _answer(answer.body).docs
            if failed := next((bytes(each.error) for each in documents if bytes(each.error)), b""):
                raise Unavailable(f"Elasticsearch could not look a document up: {failed.decode()[:200]}")
            return {each.identifier: _state(each) for each in documents if each.found}
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"Elasticsearch: unexpected answer to a lookup of documents: {error}") from None


def _state(document: _Document) -> StoredDocument:
    source = bytes(document.source)
    return StoredDocument(document.version, _deleted(source).at is not None, order_of(source))
