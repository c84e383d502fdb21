"""The audit's tables, brought up to date by numbered SQL files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import structlog

from activity_indexer.errors import Refused
from activity_indexer.settings import Pipeline

LOCK: Final = 0x61637469_76697479
"""Key of the advisory lock that lets one indexer at a time change the schema."""

OWN_TABLES: Final = (
    "transactions",
    "transaction_events",
    "transaction_versions",
    "audit_rejects",
    "audit_pipelines",
    "audit_offsets",
    "audit_losses",
)
FIRST_WITH_PIPELINES: Final = 2
"""The step from which on rows carry their pipeline."""

MIGRATION_TIMEOUT: Final = 6 * 3600.0
"""Limit of a statement that rewrites whole tables (seconds); DATABASE_TIMEOUT is for those that do not."""

_OWN_COLUMNS: Final = {"version", "name", "applied_at"}

_HISTORY: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
    )
"""
_HISTORY_COLUMNS: Final = """
    SELECT array_agg(attname::text) FROM pg_attribute
    WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0 AND NOT attisdropped
"""
_FOREIGN_TABLES: Final = """
    SELECT relname::text FROM pg_class
    WHERE relname = ANY($1) AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
    ORDER BY 1
"""

_FOREIGN_TOPIC: Final = """
    SELECT topic FROM transaction_events
    WHERE topic <> $1 AND NOT EXISTS (SELECT FROM transaction_events WHERE topic = $1) LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema; `version` counts from 1."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """The steps this program knows, oldest first."""
    folder = files("activity_indexer.adapters.postgres").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name[5:-4], folder.joinpath(name).read_text("utf-8")) for name in names]


async def migrate(connection: Any, steps: list[Migration], pipeline: Pipeline) -> None:
    """Apply the steps that are missing, all or none, and register the pipeline; in the caller's transaction.

    Safe when several start at once. A database that is up to date and knows the pipeline is only read, so that a user
    without the right to create tables will do. Raises Refused, and what asyncpg raises.
    """
    await _check_encoding(connection)
    newest = steps[-1].version
    if await _applied(connection, steps) == newest and await _is_registered(connection, pipeline):
        return
    await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
    applied = await _applied(connection, steps)
    if applied == 0:
        await _begin(connection)
    elif applied < FIRST_WITH_PIPELINES:
        await _check_topic(connection, pipeline)
    for name, value in (("pipeline", pipeline.name), ("topic", pipeline.topic)):
        await connection.execute("SELECT set_config('activity_indexer.' || $1, $2, true)", name, value)
    for step in steps[applied:]:
        await _apply(connection, step)
    if newest >= FIRST_WITH_PIPELINES and not await _is_registered(connection, pipeline):
        await _register(connection, pipeline)


async def check_pipeline(connection: Any, pipeline: Pipeline) -> None:
    """Raises Refused when the database has nothing of this pipeline: what others wrote says nothing about it."""
    if not await has_pipelines(connection):
        raise Refused(
            "the audit has not written into this database yet, or only an older version has: start an indexer with "
            "CONSUMER_ENABLE_AUDIT_DB=true first, or correct DATABASE_URL"
        )
    if not await _is_registered(connection, pipeline):
        others = await _others(connection, pipeline)
        whose = f"belongs to the pipeline {', '.join(others)}" if others else "belongs to no pipeline yet"
        raise Refused(_of_others(pipeline, whose))


async def has_pipelines(connection: Any) -> bool:
    """Whether an audit of this release has written into the database."""
    found: bool = await connection.fetchval("SELECT to_regclass('audit_pipelines') IS NOT NULL")
    return found


async def _is_registered(connection: Any, pipeline: Pipeline) -> bool:
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM audit_pipelines WHERE pipeline = $1 AND topic = $2)", pipeline.name, pipeline.topic
    )
    return found


async def _others(connection: Any, pipeline: Pipeline) -> list[str]:
    rows = await connection.fetch(
        "SELECT pipeline, topic FROM audit_pipelines WHERE pipeline <> $1 OR topic <> $2", pipeline.name, pipeline.topic
    )
    return [f"{row['pipeline']} (topic {row['topic']})" for row in rows]


def _of_others(pipeline: Pipeline, whose: str) -> str:
    return (
        f"the database {whose}, and this pipeline is {pipeline.name} (topic {pipeline.topic}): name a database of its "
        "own in DATABASE_URL; or set DATABASE_PIPELINE, if this is the same pipeline under another name; or set "
        "DATABASE_SHARED=true to keep the rows of both apart in it"
    )


async def _check_topic(connection: Any, pipeline: Pipeline) -> None:
    """Rows from before there were pipelines belong to the pipeline that reads the topic that they came from."""
    topic = await connection.fetchval(_FOREIGN_TOPIC, pipeline.topic, timeout=MIGRATION_TIMEOUT)
    if topic is not None and not pipeline.shared:
        raise Refused(_of_others(pipeline, f"holds rows of the topic {topic}"))


async def _register(connection: Any, pipeline: Pipeline) -> None:
    topic = await connection.fetchval("SELECT topic FROM audit_pipelines WHERE pipeline = $1", pipeline.name)
    if topic is not None:
        raise Refused(
            f"the pipeline {pipeline.name} in this database reads the topic {topic}, this one reads {pipeline.topic}: "
            "name another database, or set DATABASE_SHARED=true and give this one its own name in DATABASE_PIPELINE"
        )
    if not pipeline.shared and (others := await _others(connection, pipeline)):
        raise Refused(_of_others(pipeline, f"belongs to the pipeline {', '.join(others)}"))
    await connection.execute(
        "INSERT INTO audit_pipelines (pipeline, topic) VALUES ($1, $2)", pipeline.name, pipeline.topic
    )
    await connection.execute("SELECT audit_claim($1, $2)", pipeline.name, pipeline.topic, timeout=MIGRATION_TIMEOUT)
    structlog.get_logger().info("audit.pipeline_registered", pipeline=pipeline.name, topic=pipeline.topic)


async def _check_encoding(connection: Any) -> None:
    encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        raise Refused(f"expected a database with encoding UTF8, got {encoding}: create one with ENCODING 'UTF8'")


async def _applied(connection: Any, steps: list[Migration]) -> int:
    columns = await connection.fetchval(_HISTORY_COLUMNS)
    if columns is None:
        return 0
    if set(columns) != _OWN_COLUMNS:
        raise Refused(
            "the table schema_migrations in this database belongs to another program: "
            "name a database in DATABASE_URL that the audit has for itself"
        )
    applied = int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_migrations"))
    newest = steps[-1].version
    if applied > newest:
        raise Refused(
            f"the database has schema version {applied}, this program knows {newest} at most: "
            "run the newer program, or name another database in DATABASE_URL"
        )
    return applied


async def _begin(connection: Any) -> None:
    foreign = [row[0] for row in await connection.fetch(_FOREIGN_TABLES, OWN_TABLES)]
    if foreign:
        renames = " ".join(f"ALTER TABLE {name} RENAME TO {name}_old;" for name in foreign)
        raise Refused(
            f"the database has {', '.join(foreign)} already, made by another program or an older one: "
            f"rename it ({renames}), or name another database in DATABASE_URL"
        )
    await connection.execute(_HISTORY)


async def _apply(connection: Any, step: Migration) -> None:
    structlog.get_logger().info("audit.schema_migrating", version=step.version, name=step.name)
    await connection.execute(step.sql, timeout=MIGRATION_TIMEOUT)
    await connection.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", step.version, step.name)
    structlog.get_logger().info("audit.schema_migrated", version=step.version, name=step.name)
