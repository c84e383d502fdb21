"""What the end-to-end tests ask Elasticsearch, as the guide does: by plain HTTP."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any


def get(url: str) -> Any:
    """The JSON that a URL answers with."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def count(address: str, query: str) -> int:
    """How many live documents match a query such as "user_id:test_user_123"."""
    return int(get(f"{address}/transactions/_count?q={urllib.parse.quote(query)}")["count"])


def search(address: str, query: str, size: int = 10) -> list[dict[str, Any]]:
    """The first documents that match."""
    url = f"{address}/transactions/_search?q={urllib.parse.quote(query)}&size={size}"
    return [hit["_source"] for hit in get(url)["hits"]["hits"]]
