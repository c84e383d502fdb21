"""The full client of Elasticsearch, for commands; the indexer itself does with transport.py."""

from __future__ import annotations

from typing import Any

from elasticsearch import AsyncElasticsearch

from activity_indexer.adapters.elasticsearch.node import Node, authorization, nodes
from activity_indexer.settings import ElasticsearchSettings


def connect(settings: ElasticsearchSettings, request_timeout: float | None = None) -> AsyncElasticsearch:
    """A client without retries of its own: it repeats push-back without a pause."""
    login = authorization(settings)
    arguments: dict[str, Any] = {"headers": {"authorization": login}} if login else {}
    return AsyncElasticsearch(
        nodes(settings),
        request_timeout=request_timeout or settings.request_timeout,
        max_retries=0,
        retry_on_timeout=False,
        retry_on_status=(),
        node_class=Node,
        **arguments,
    )
