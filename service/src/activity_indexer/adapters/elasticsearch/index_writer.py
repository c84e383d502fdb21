"""Bulk requests to an index or alias by its name, for commands that write documents again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from activity_indexer.adapters.elasticsearch.bulk import send_bulk
from activity_indexer.adapters.elasticsearch.document_lookup import found_documents, lookup_body
from activity_indexer.adapters.elasticsearch.transport import ElasticsearchTransport
from activity_indexer.errors import Refused
from activity_indexer.ports import BulkReply, Stored
from activity_indexer.settings import ElasticsearchSettings

_QUERY: Final = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,error"
_encode: Final = msgspec.json.Encoder().encode


class NamedIndex:
    """ports.BulkIndex for an index that is there already; it is never created here."""

    def __init__(self, settings: ElasticsearchSettings, name: str, *, alias: bool = False) -> None:
        self._client = ElasticsearchTransport(settings)
        self._name = name
        self._lookup = f"/{name}/_bulk?require_alias={str(alias).lower()}"
        self._target = f"{self._lookup}&{_QUERY}"

    async def bulk(self, body: bytes) -> BulkReply:
        """Send ready NDJSON. Raises Unavailable when there is no answer."""
        return await send_bulk(self._client, self._target, body)

    async def read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        """Those of these documents that exist, by id. Raises Unavailable or Refused."""
        return found_documents(identifiers, await send_bulk(self._client, self._lookup, lookup_body(identifiers)))

    async def prepare(self) -> None:
        """Called when the name stands for nothing any more. Raises Refused."""
        raise Refused(f"{self._name} was deleted meanwhile; run the command again")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def action(name: str, transaction_id: str, version: int) -> bytes:
    """The action line of a bulk request that also takes the place of the same version."""
    return b'{"%b":{"_id":%b,"version":%d,"version_type":"external_gte"}}\n' % (
        name.encode(),
        _encode(transaction_id),
        version,
    )
