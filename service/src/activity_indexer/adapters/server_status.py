"""How Elasticsearch, PostgreSQL and Redis are."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch
from redis.asyncio import Redis as RedisClient
from redis.exceptions import RedisError

from activity_indexer.adapters.elasticsearch_client import connect, mapped
from activity_indexer.adapters.index_versions import IndexVersions
from activity_indexer.adapters.postgres import dsn
from activity_indexer.adapters.postgres_errors import postgres_errors
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.settings import DatabaseSettings, ElasticsearchSettings, RedisSettings
from activity_indexer.status.report import Audit, Index, Redis, Rows

EXACT_BELOW: Final = 200_000
"""Rows up to which a table is counted; above that the server's estimate stands."""

_ESTIMATE: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)"
_SIZE: Final = "SELECT pg_relation_size(to_regclass($1)) / 64"
"""At least so many bytes has a row: an upper bound where nothing was estimated yet."""


async def index_status(settings: ElasticsearchSettings) -> Index:
    """Raises Unavailable or Refused."""
    async with connect(settings) as client:
        try:
            return await _index(client, settings)
        except (ApiError, TransportError) as error:
            raise mapped(error) from error


async def _index(client: AsyncElasticsearch, settings: ElasticsearchSettings) -> Index:
    version = str((await client.info())["version"]["number"])
    health = str((await client.cluster.health())["status"])
    versions = IndexVersions(client, settings, {})
    building = await versions.building()
    try:
        index = await versions.searched()
    except Refused:
        return Index(version=version, health=health, alias=settings.index, index=None)
    deleted = {"exists": {"field": "_deleted_at"}}
    stats = await client.indices.stats(index=index, metric=["store"])
    return Index(
        version=version,
        health=health,
        alias=settings.index,
        index=index,
        documents=int((await client.count(index=settings.index))["count"]),
        tombstones=int((await client.count(index=index, query=deleted))["count"]),
        bytes=int(stats["_all"]["total"]["store"]["size_in_bytes"]),
        building=building.index if building else None,
        turned=bool(building and building.written),
    )


async def audit_status(settings: DatabaseSettings, limit: float) -> Audit:
    """`limit` bounds each question (seconds). Raises Unavailable or Refused."""
    with postgres_errors():
        connection = await asyncpg.connect(dsn(settings), timeout=limit, command_timeout=limit)
        try:
            return Audit(
                version=str(await connection.fetchval("SHOW server_version")).split(" ")[0],
                transactions=await _rows(connection, "transactions"),
                events=await _rows(connection, "transaction_events"),
                rejects=await _rows(connection, "audit_rejects"),
            )
        finally:
            connection.terminate()


async def _rows(connection: Any, table: str) -> Rows | None:
    estimate = await connection.fetchval(_ESTIMATE, table)
    if estimate is None:
        return None
    if estimate < 0:  # never analyzed
        estimate = await connection.fetchval(_SIZE, table)
    if estimate >= EXACT_BELOW:
        return Rows(rows=estimate, exact=False)
    # the names are those of this module
    return Rows(rows=await connection.fetchval(f"SELECT count(*) FROM {table}"), exact=True)  # noqa: S608


async def redis_status(settings: RedisSettings, limit: float) -> Redis:
    """`limit` bounds each question (seconds). Raises Unavailable."""
    tls: dict[str, Any] = {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}
    client: Any = RedisClient.from_url(
        settings.url.get_secret_value(), socket_connect_timeout=limit, socket_timeout=limit, **tls
    )
    try:
        found = await client.info()
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis: {type(error).__name__}: {error}") from error
    finally:
        await client.aclose()
    name = f" ({found['server_name']})" if "server_name" in found else ""
    number = found.get("valkey_version") or found.get("redis_version", "unknown")
    return Redis(version=f"{number}{name}", used_bytes=int(found.get("used_memory", 0)))
