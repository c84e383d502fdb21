"""Removes tombstones that are older than any event that could still come: plain search and bulk delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from activity_indexer.adapters.elasticsearch.transport import mapped
from activity_indexer.adapters.elasticsearch.write_index import find_write_index
from activity_indexer.timestamps import format_timestamp

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """`found` tombstones were too old at the start; `purged` are gone, `kept` were changed meanwhile and stay."""

    found: int
    purged: int = 0
    kept: int = 0


async def purge_tombstones(client: AsyncElasticsearch, alias: str, before: int) -> AsyncIterator[Progress]:
    """Delete the tombstones of deletions before `before` (microseconds since the epoch); reports after each page.

    A tombstone that changes meanwhile stays. Raises Unavailable or Refused.
    """
    try:
        found = await find_write_index(client, alias, any_scale=True)
        for index in sorted({found.name, found.searched}):
            async for progress in _purge(client, index, before):
                yield progress
    except (ApiError, TransportError) as error:
        raise mapped(error) from error


async def _purge(client: AsyncElasticsearch, index: str, before: int) -> AsyncIterator[Progress]:
    await client.indices.refresh(index=index)
    query = {"range": {"_deleted_at": {"lt": format_timestamp(before)}}}
    found = int((await client.count(index=index, query=query))["count"])
    purged = kept = 0
    yield Progress(found)
    after: list[Any] | None = None
    while hits := await _page(client, index, query, after):
        after = hits[-1]["sort"]
        statuses = await _delete(client, index, hits)
        purged += sum(status in (200, 404) for status in statuses)
        kept += sum(status == 409 for status in statuses)
        yield Progress(found, purged, kept)


async def _page(
    client: AsyncElasticsearch, index: str, query: dict[str, Any], after: list[Any] | None
) -> list[dict[str, Any]]:
    more: dict[str, Any] = {"search_after": after} if after else {}
    answer = await client.search(
        index=index,
        query=query,
        sort=[{"_deleted_at": "asc"}, {"id": "asc"}],
        size=PAGE,
        source=False,
        seq_no_primary_term=True,
        **more,
    )
    hits: list[dict[str, Any]] = answer["hits"]["hits"]
    return hits


async def _delete(client: AsyncElasticsearch, index: str, hits: list[dict[str, Any]]) -> list[int]:
    operations = [
        {"delete": {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}}
        for hit in hits
    ]
    answer = await client.bulk(index=index, operations=operations)
    return [item["delete"]["status"] for item in answer["items"]]
