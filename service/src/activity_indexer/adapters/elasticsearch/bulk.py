"""The index in Elasticsearch: ready NDJSON in, the answer's bytes out."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from traceback import clear_frames
from typing import Any
from urllib.parse import quote

import structlog
from elastic_transport import ApiError, TransportError

from activity_indexer.adapters.elasticsearch.document_lookup import found_documents, lookup_body
from activity_indexer.adapters.elasticsearch.node import NotElasticsearch
from activity_indexer.adapters.elasticsearch.transport import ElasticsearchTransport, mapped, require_supported
from activity_indexer.adapters.elasticsearch.write_index import (
    BUILDING,
    AliasMissing,
    IndexTime,
    ask,
    find_write_index,
    read_history,
    unlike,
)
from activity_indexer.document import CURRENT_SCALE, NOT_DELETED, VERSION_SCALE, mappings
from activity_indexer.document import settings as index_settings
from activity_indexer.errors import Unavailable, UnexpectedIndex, reason_of
from activity_indexer.index_watch import CHECK_TIMEOUT
from activity_indexer.ports import BulkReply, Stored
from activity_indexer.settings import ElasticsearchSettings

HANDED_ON = frozenset({401, 403, 413})
BULK_QUERY = (
    "require_alias=true&filter_path="
    "errors,took,items.*._index,items.*.status,items.*.error.type,items.*.error.reason,error"
)


class ElasticsearchIndex:
    """ports.BulkIndex: the alias, the index behind it, and bulk requests to it.

    `enrichment` are the properties that the enrichment strategies declare.
    """

    def __init__(self, settings: ElasticsearchSettings, enrichment: Mapping[str, Any]) -> None:
        self._settings = settings
        self._enrichment = enrichment
        self._client = ElasticsearchTransport(settings)
        # one connection for each bulk request that may be under way
        self._bulk_client = ElasticsearchTransport(settings, connections_per_node=64)
        self._target = f"/{settings.index}/_bulk?{BULK_QUERY}"
        self._lookup = f"/{settings.index}/_bulk?require_alias=true"
        self._log = structlog.get_logger("activity_indexer.elasticsearch")
        self._time = IndexTime()
        self.identity = ""
        self.has_history = False
        self.written = ""
        self.remembers = 0.0

    async def bulk(self, body: bytes) -> BulkReply:
        """Send ready NDJSON."""
        return await send_bulk(self._bulk_client, self._target, body)

    async def read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        """Those of these documents that exist, by id, as the primary shards have them."""
        reply = await send_bulk(self._bulk_client, self._lookup, lookup_body(identifiers))
        return found_documents(identifiers, reply, self.written)

    async def searchable(self, identifier: str) -> int | None:
        """Version of a document as a search of the alias finds it; None when it finds none."""
        try:
            answer = await self._ask(
                "POST",
                f"/{self._settings.index}/_search",
                {"query": {"ids": {"values": [identifier]}}, "version": True, "_source": False},
            )
        except (ApiError, TransportError) as error:
            raise mapped(error) from None
        hits = answer["hits"]["hits"]
        return int(hits[0]["_version"]) if hits else None

    async def prepare(self) -> None:
        """Create index, mapping and alias when absent; add to the mapping what newer strategies declare."""
        try:
            await self._prepare_patiently()
        except (ApiError, TransportError) as error:
            raise mapped(error) from error

    async def _prepare_patiently(self) -> None:
        """An index that was made a moment ago has a primary shard soon."""
        deadline = time.monotonic() + CHECK_TIMEOUT
        while True:
            try:
                return await self._prepare()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _prepare(self) -> None:
        await require_supported(self._client)
        try:
            await self._check()
        except AliasMissing:
            await self._create(self._settings.index)
            await self._check()

    async def check(self) -> None:
        """Look which index is written to, and whether it is as expected; create it when it is missing.

        Then `written` is its name, `identity` names it with its history, if that may be read (`has_history`), and
        `remembers` is how long Elasticsearch knows the version of a deleted document (seconds). Raises Unavailable,
        Refused, and UnexpectedIndex.
        """
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await self._check()
        except TimeoutError:
            raise Unavailable(f"Elasticsearch: no answer about the index within {CHECK_TIMEOUT:g} s") from None
        except AliasMissing:
            await self.prepare()
        except (ApiError, TransportError) as error:
            raise mapped(error) from error

    async def _check(self) -> None:
        found = await find_write_index(self._client, self._settings.index)
        if odd := unlike(found, self._mappings()):
            raise UnexpectedIndex(odd)
        if not found.has_current_scale:  # an empty index that was made by hand
            meta = {**found.mappings.get("_meta", {}), VERSION_SCALE: CURRENT_SCALE}
            await self._ask("PUT", f"/{quote(found.name)}/_mapping", {"_meta": meta})
        if missing := missing_properties(self._mappings(), found.mappings):  # such as the fields of a new strategy
            await self._ask("PUT", f"/{quote(found.name)}/_mapping", {"properties": missing})
            self._log.info("mapping.extended", index=found.name, fields=sorted(missing))
        history = await read_history(self._client, found)
        self.identity, self.has_history = self._time.identity(found, history), history is not None
        self.written, self.remembers = found.name, found.gc_deletes

    def _mappings(self) -> dict[str, Any]:
        return mappings(self._enrichment)

    async def _create(self, name: str) -> None:
        if not self._settings.create_index:
            raise UnexpectedIndex(f"the alias {name} does not exist and ELASTICSEARCH_CREATE_INDEX is off: create it")
        entry: dict[str, Any] = {"filter": NOT_DELETED, "is_write_index": True}
        found = await self._ask("GET", f"/{name}-*/_alias?expand_wildcards=all")
        ours = sorted(index for index in found if re.fullmatch(rf"{re.escape(name)}-\d{{6}}", index))
        if len(ours) > 1 or any(name + BUILDING in found[index]["aliases"] for index in ours):
            raise UnexpectedIndex(
                f"the alias {name} does not exist, and several indexes may have been behind it: {', '.join(ours)}. "
                f"Add the alias to the right one, with its filter and is_write_index"
            )
        if ours:
            await self._ask("PUT", f"/{ours[0]}/_alias/{name}", entry)
            self._log.warning("alias.restored", index=ours[0], alias=name)
            return
        wanted = self._settings
        try:
            await self._ask(
                "PUT",
                f"/{name}-000001",
                {
                    "settings": index_settings(wanted.shards, wanted.replicas, wanted.refresh_interval),
                    "mappings": self._mappings(),
                    "aliases": {name: entry},
                },
            )
            self._log.info("index.created", index=f"{name}-000001", alias=name)
        except ApiError as error:
            if error.message != "resource_already_exists_exception":  # else another indexer was faster
                raise

    async def _ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        return await ask(self._client, method, target, body)

    async def stop(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._bulk_client.close()


def missing_properties(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Properties of the wanted mapping that the found one lacks, at any depth; in the form of `properties`."""
    missing: dict[str, Any] = {}
    there = found.get("properties", {})
    for name, mapping in wanted.get("properties", {}).items():
        if name not in there:
            missing[name] = mapping
        elif "properties" in mapping and (deeper := missing_properties(mapping, there[name])):
            missing[name] = {"properties": deeper}
    return missing


async def send_bulk(transport: ElasticsearchTransport, target: str, body: bytes) -> BulkReply:
    """One bulk request. Raises Unavailable when Elasticsearch does not answer it.

    Of proxies before Elasticsearch only a refused login and a body that is too large are handed on.
    """
    try:
        answer = await transport.send("POST", target, body)
    except NotElasticsearch as error:
        if error.status in HANDED_ON:
            return BulkReply(error.status, error.message.encode())
        raise _unavailable(error) from None
    except TransportError as error:
        raise _unavailable(error) from None
    return BulkReply(answer.status, answer.body)


def _unavailable(error: TransportError) -> Unavailable:
    text = f"Elasticsearch: {error.message if isinstance(error, NotElasticsearch) else reason_of(error)}"
    _forget(error)
    return Unavailable(text)


def _forget(error: BaseException | None) -> None:
    """Let go of what an error's frames hold: they refer to themselves, and to the body that could not be sent.

    The garbage collector comes seldom while a server is unavailable, and each try would leave a body behind until then.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        for earlier in getattr(error, "errors", ()):
            _forget(earlier)
        error = error.__cause__ or error.__context__
