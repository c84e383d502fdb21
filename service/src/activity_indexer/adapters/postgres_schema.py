"""The audit's tables, brought up to date by numbered SQL files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import structlog

from activity_indexer.errors import Refused

LOCK: Final = 0x61637469_76697479
"""Key of the advisory lock that lets one indexer at a time change the schema."""

OWN_TABLES: Final = ("transactions", "transaction_events", "transaction_versions", "audit_rejects")
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


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema; `version` counts from 1."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """The steps this program knows, oldest first."""
    folder = files("activity_indexer.adapters").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name[5:-4], folder.joinpath(name).read_text("utf-8")) for name in names]


async def migrate(connection: Any, steps: list[Migration]) -> None:
    """Apply the steps that are missing, all or none.

    Safe when several start at once. A schema that is up to date is only read, so that a user without the right to
    create tables will do. Raises Refused, and what asyncpg raises.
    """
    await _check_encoding(connection)
    if await _applied(connection, steps) == steps[-1].version:
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        applied = await _applied(connection, steps)
        if applied == 0:
            await _begin(connection)
        for step in steps[applied:]:
            await _apply(connection, step)


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
    await connection.execute(step.sql)
    await connection.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", step.version, step.name)
    structlog.get_logger().info("audit.schema_migrated", version=step.version, name=step.name)
