"""The index as a replay asks it: which version a document has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, NotFoundError

from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.adapters.elasticsearch.document_reader import state_of
from activity_indexer.adapters.elasticsearch.transport import mapped
from activity_indexer.adapters.elasticsearch.write_index import AliasMissing, find_write_index
from activity_indexer.dead_letters.document_state import StoredDocument
from activity_indexer.document import ORDER_FIELDS
from activity_indexer.pipeline.decode import MAX_ID_BYTES
from activity_indexer.settings import ElasticsearchSettings

MAX_ASKED: Final = 1000
"""Documents that are asked for at once."""

FILTER: Final = "docs._id,docs._version,docs.found,docs._source"


@asynccontextmanager
async def replay_documents(settings: ElasticsearchSettings) -> AsyncIterator[ReplayDocuments]:
    """A client that is closed at the end; it connects when it is asked."""
    async with connect(settings) as client:
        yield ReplayDocuments(client, settings.index)


class ReplayDocuments:
    """replay.ports.Documents, behind an alias."""

    def __init__(self, client: AsyncElasticsearch, alias: str) -> None:
        self._client = client
        self._alias = alias

    async def states(self, identifiers: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Those that exist, by id; what was written a moment ago counts."""
        found: dict[str, StoredDocument] = {}
        possible = [each for each in identifiers if 0 < len(each.encode(errors="replace")) <= MAX_ID_BYTES]
        try:
            for some in _batched(possible, MAX_ASKED):
                found |= await self._some(some)
        except (ApiError, TransportError) as error:
            raise mapped(error) from error
        return found

    async def _some(self, identifiers: Sequence[str]) -> dict[str, StoredDocument]:
        try:
            index = (await find_write_index(self._client, self._alias)).name
            answer = await self._client.mget(
                index=index, ids=list(identifiers), source_includes=list(ORDER_FIELDS), filter_path=FILTER
            )
        except (AliasMissing, NotFoundError):  # there is no index yet, and so nothing in it
            return {}
        return {each["_id"]: state_of(each) for each in answer.get("docs", []) if each.get("found")}


def _batched(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[at : at + size] for at in range(0, len(items), size)]
