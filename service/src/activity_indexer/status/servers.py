"""How Elasticsearch, PostgreSQL and Redis are."""

from __future__ import annotations

from typing import Any, Final

from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch

from activity_indexer.adapters.elasticsearch.client import connect
from activity_indexer.adapters.elasticsearch.index_versions import IndexVersions
from activity_indexer.adapters.elasticsearch.transport import mapped
from activity_indexer.adapters.postgres.connection import connect as connect_database
from activity_indexer.adapters.postgres.connection import transaction
from activity_indexer.adapters.postgres.errors import postgres_errors
from activity_indexer.adapters.postgres.schema import check_pipeline, has_pipelines
from activity_indexer.adapters.redis.client import RedisClient
from activity_indexer.adapters.redis.errors import NO_CLUSTER
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.settings import DatabaseSettings, ElasticsearchSettings, Pipeline, RedisSettings
from activity_indexer.status.report import Audit, Index, Redis, Rows

EXACT_BELOW: Final = 200_000
"""Rows up to which a table is counted; above that the server's estimate is given."""

_ESTIMATE: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)"
_SIZE: Final = "SELECT pg_relation_size(to_regclass($1)) / 64"
"""At least this many bytes has a row: an upper bound where nothing was estimated yet."""


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


async def audit_status(settings: DatabaseSettings, pipeline: Pipeline, limit: float) -> Audit:
    """`limit` bounds each question (seconds). Raises Unavailable or Refused."""
    with postgres_errors():
        connection = await connect_database(settings, "activity-indexer status", limit)
        try:
            async with transaction(connection, settings):
                version = str(await connection.fetchval("SHOW server_version")).split(" ")[0]
                if not await has_pipelines(connection):  # the server is up, and no audit has begun
                    return Audit(version=version, transactions=None, events=None, rejects=None)
                await check_pipeline(connection, pipeline)
                return Audit(
                    version=version,
                    transactions=await _rows(connection, "transactions", pipeline),
                    events=await _rows(connection, "transaction_events", pipeline),
                    rejects=await _rows(connection, "audit_rejects", pipeline),
                )
        finally:
            connection.terminate()


async def _rows(connection: Any, table: str, pipeline: Pipeline) -> Rows | None:
    estimate = await connection.fetchval(_ESTIMATE, table)
    if estimate is None:
        return None
    if estimate < 0:  # never analyzed
        estimate = await connection.fetchval(_SIZE, table)
    if estimate >= EXACT_BELOW and await connection.fetchval("SELECT count(*) FROM audit_pipelines") == 1:
        return Rows(rows=estimate, exact=False)
    # the names are those of this module
    count = f"SELECT count(*) FROM {table} WHERE pipeline = $1"  # noqa: S608
    return Rows(rows=await connection.fetchval(count, pipeline.name), exact=True)


async def redis_status(settings: RedisSettings, limit: float) -> Redis:
    """`limit` bounds each question (seconds). Raises Unavailable."""
    client = RedisClient(settings)
    try:
        found = await client.info(2 * limit)
    finally:
        await client.close()
    if found.get("cluster_enabled", "0") != "0":
        raise Unavailable(f"Redis: {NO_CLUSTER}")
    name = f" ({found['server_name']})" if "server_name" in found else ""
    number = found.get("valkey_version") or found.get("redis_version", "unknown")
    return Redis(version=f"{number}{name}", used_bytes=int(found.get("used_memory", 0)))
