"""The index in Elasticsearch: ready NDJSON in, the answer's bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from traceback import clear_frames
from typing import Any

import structlog
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, BadRequestError
from elasticsearch.serializer import JsonSerializer

from activity_indexer.adapters.elasticsearch_client import NotElasticsearch, connect, mapped, require_supported
from activity_indexer.document import NOT_DELETED, mappings
from activity_indexer.document import settings as index_settings
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.ports import BulkReply
from activity_indexer.settings import ElasticsearchSettings

BULK_HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}
HANDED_ON = frozenset({401, 403, 413})
BULK_QUERY = "require_alias=true&filter_path=errors,took,items.*.status,items.*.error.type,items.*.error.reason,error"


class _Bytes(JsonSerializer):
    """Hands the answer of a bulk request over as it came: mostly only its first bytes are read."""

    def loads(self, data: bytes) -> Any:
        return data


AS_IT_CAME = {"application/json": _Bytes(), "application/*": _Bytes()}


class ElasticsearchIndex:
    """ports.BulkIndex: the alias, the index behind it, and bulk requests to it.

    `enrichment` are the properties that the enrichment strategies declare.
    """

    def __init__(self, settings: ElasticsearchSettings, enrichment: Mapping[str, Any]) -> None:
        self._settings = settings
        self._enrichment = enrichment
        self._client = connect(settings)
        # one connection for each bulk request that may be under way, and answers as bytes
        self._bulk_client = connect(settings, serializers=AS_IT_CAME, connections_per_node=64)
        self._target = f"/{settings.index}/_bulk?{BULK_QUERY}"
        self._log = structlog.get_logger("activity_indexer.elasticsearch")
        self.identity = ""

    async def bulk(self, body: bytes) -> BulkReply:
        """Send ready NDJSON."""
        return await send_bulk(self._bulk_client, self._target, body)

    async def searchable(self, identifier: str) -> int | None:
        """Version of a document as a search of the alias finds it; None when it finds none."""
        try:
            answer = await self._client.search(
                index=self._settings.index, query={"ids": {"values": [identifier]}}, version=True, source=False
            )
        except (ApiError, TransportError) as error:
            raise mapped(error) from None
        hits = answer["hits"]["hits"]
        return int(hits[0]["_version"]) if hits else None

    async def prepare(self) -> None:
        """Create index, mapping and alias when absent; add to the mapping what newer strategies declare."""
        try:
            await self._prepare()
        except (ApiError, TransportError) as error:
            raise mapped(error) from error

    async def _prepare(self) -> None:
        await require_supported(self._client)
        name = self._settings.index
        if not await self._client.indices.exists_alias(name=name):
            await self._create(name)
        behind = await self._client.indices.get_alias(name=name)
        index = self._write_index(dict(behind))
        await self._complete_mapping(index)
        found = await self._client.indices.get_settings(index=index, name="index.uuid")
        self.identity = str(found[index]["settings"]["index"]["uuid"])

    async def _complete_mapping(self, index: str) -> None:
        """Add what is missing, such as the fields of a new strategy; what people mapped their own way stays."""
        found = await self._client.indices.get_mapping(index=index)
        if missing := missing_properties(self._mappings(), found[index]["mappings"]):
            await self._client.indices.put_mapping(index=index, properties=missing)
            self._log.info("mapping.extended", index=index, fields=sorted(missing))

    def _mappings(self) -> dict[str, Any]:
        return mappings(self._enrichment)

    def _write_index(self, behind: Mapping[str, Any]) -> str:
        for index, state in behind.items():
            if len(behind) == 1 or state["aliases"][self._settings.index].get("is_write_index"):
                return index
        raise Refused(
            f"the alias {self._settings.index} stands for {', '.join(sorted(behind))} and none is its write index: "
            "set is_write_index for one of them"
        )

    async def _create(self, name: str) -> None:
        if await self._client.indices.exists(index=name):
            if await self._client.indices.exists_alias(name=name):  # another indexer was faster
                return
            raise Refused(f"{name} is an index, but must be an alias: reindex it under another name and delete it")
        if not self._settings.create_index:
            raise Refused(f"the alias {name} is absent and ELASTICSEARCH_CREATE_INDEX is off: create it")
        wanted = self._settings
        try:
            await self._client.indices.create(
                index=f"{name}-000001",
                settings=index_settings(wanted.shards, wanted.replicas, wanted.refresh_interval),
                mappings=self._mappings(),
                aliases={name: {"filter": NOT_DELETED, "is_write_index": True}},
            )
            self._log.info("index.created", index=f"{name}-000001", alias=name)
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise
            # another indexer was faster, or the index lost its alias
            await self._client.indices.put_alias(
                index=f"{name}-000001", name=name, filter=NOT_DELETED, is_write_index=True
            )

    @property
    def client(self) -> AsyncElasticsearch:
        """For commands that search."""
        return self._client

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


async def send_bulk(client: AsyncElasticsearch, target: str, body: bytes) -> BulkReply:
    """One bulk request by a client that hands bytes over. Raises Unavailable when Elasticsearch does not answer it.

    Of what stands before Elasticsearch only a refused login and a body that is too large are handed on.
    """
    try:
        answer = await client.perform_request("POST", target, headers=BULK_HEADERS, body=body)
    except ApiError as error:
        return BulkReply(error.meta.status, _as_bytes(error.body))
    except NotElasticsearch as error:
        if error.status in HANDED_ON:
            return BulkReply(error.status, error.message.encode())
        raise _away(error) from None
    except TransportError as error:
        raise _away(error) from None
    return BulkReply(answer.meta.status, _as_bytes(answer.body))


def _away(error: TransportError) -> Unavailable:
    text = f"Elasticsearch: {error.message if isinstance(error, NotElasticsearch) else error}"
    _forget(error)
    return Unavailable(text)


def _forget(error: BaseException | None) -> None:
    """Let go of what an error's frames hold: they refer to themselves, and to the body that could not be sent.

    The garbage collector comes seldom while a server is away, and each try would leave a body behind until then.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        for earlier in getattr(error, "errors", ()):
            _forget(earlier)
        error = error.__cause__ or error.__context__


def _as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else str(body or "").encode()
