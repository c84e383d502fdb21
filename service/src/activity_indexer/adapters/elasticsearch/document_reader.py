"""The state of one document now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from elastic_transport import TransportError
from elasticsearch import ApiError, NotFoundError

from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.adapters.elasticsearch.transport import mapped
from activity_indexer.adapters.elasticsearch.write_index import AliasMissing, find_write_index
from activity_indexer.dead_letters.document_state import StoredDocument
from activity_indexer.document import ORDER_FIELDS, order_of
from activity_indexer.settings import ElasticsearchSettings

LOOKUP_TIMEOUT: Final = 5.0
"""How long people wait for an answer about one document (seconds)."""


async def stored_document(settings: ElasticsearchSettings, transaction_id: str) -> StoredDocument | None:
    """The document of a transaction, or its tombstone; None when there is none. Raises Unavailable or Refused."""
    timeout = min(LOOKUP_TIMEOUT, settings.request_timeout)
    try:
        async with connect(settings, request_timeout=timeout) as client:
            index = (await find_write_index(client, settings.index)).name
            found = await client.get(index=index, id=transaction_id, source_includes=list(ORDER_FIELDS))
    except (AliasMissing, NotFoundError):
        return None
    except (ApiError, TransportError) as error:
        raise mapped(error) from error
    return state_of(found.body)


def state_of(found: Mapping[str, Any]) -> StoredDocument:
    """The document in Elasticsearch's answer, which has at least ORDER_FIELDS of its source."""
    source = found.get("_source", {})
    return StoredDocument(int(found["_version"]), "_deleted_at" in source, order_of(msgspec.json.encode(source)))
