"""Asks indexers for what they know of themselves."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec

from activity_indexer.errors import Unavailable
from activity_indexer.facts import IndexerFacts

LARGEST: Final = 4 * 2**20
"""Bytes of an answer that are read at most."""


async def indexer_facts(address: str) -> IndexerFacts:
    """The facts of the indexer whose port for health and metrics is at `address`. Raises Unavailable."""
    try:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.get(f"{address.rstrip('/')}/facts", allow_redirects=False) as response,
        ):
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST:
                    raise Unavailable(f"the answer is longer than {LARGEST} bytes: this is not an indexer")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error
    if response.status == HTTPStatus.NOT_FOUND:
        raise Unavailable("404 for /facts: its version has no facts, or this is not an indexer")
    try:
        return msgspec.json.decode(body, type=IndexerFacts)
    except msgspec.DecodeError as error:
        raise Unavailable(f"expected the facts of an indexer, got status {response.status} and {error}") from error
