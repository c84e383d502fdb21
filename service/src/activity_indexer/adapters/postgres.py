"""The audit in PostgreSQL: whole batches in one statement, safe against repeats, late events and other writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from activity_indexer.adapters.postgres_connection import acquired, open_pool, transaction
from activity_indexer.adapters.postgres_errors import postgres_errors
from activity_indexer.adapters.postgres_schema import migrate, migrations
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.event import RANKS
from activity_indexer.ports import NOTHING_READ, AuditEvent, Partition, Read
from activity_indexer.positions import Commit, Loss
from activity_indexer.settings import DatabaseSettings, Pipeline
from activity_indexer.timestamps import EPOCH, MICROSECOND, parse_timestamp

CLOSE_TIMEOUT: Final = 3.0
"""Time that connections have to close at the end (seconds)."""


_COLUMNS: Final = 22
"""Arguments of audit_write for each event."""

_WRITE: Final = f"SELECT audit_write({', '.join(f'${number}' for number in range(1, _COLUMNS + 7))})"
_BEGIN: Final = "SELECT audit_begin($1, $2, $3, $4, $5, $6, $7, $8)"
_OFFSETS: Final = "SELECT partition, next_offset, topic_id FROM audit_offsets WHERE pipeline = $1 AND topic = $2"
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_REJECT: Final = """
    INSERT INTO audit_rejects AS known
        (pipeline, topic, partition, "offset", reason, transaction_id, version, nanoseconds, event_type, body,
         published, published_partition, published_offset, source)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT (pipeline, topic, partition, "offset") DO UPDATE SET
        reason = excluded.reason, transaction_id = excluded.transaction_id, version = excluded.version,
        nanoseconds = excluded.nanoseconds, event_type = excluded.event_type, body = excluded.body,
        published = excluded.published, published_partition = excluded.published_partition,
        published_offset = excluded.published_offset, source = excluded.source, recorded_at = now()
    WHERE (known.transaction_id, known.version, known.body)
        IS DISTINCT FROM (excluded.transaction_id, excluded.version, excluded.body)
"""
"""Another event at the same place is one of a topic that was deleted and created again."""


class PostgresAudit:
    """An AuditStore in PostgreSQL, for the rows of one pipeline. It connects when it is first used."""

    def __init__(self, settings: DatabaseSettings, pipeline: Pipeline) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._pool: Any = None

    async def prepare(self) -> None:
        """Bring the schema up to date, and make sure that the database may hold this pipeline's rows.

        Raises Unavailable or Refused.
        """
        async with self._connection() as connection:
            await migrate(connection, migrations(), self._pipeline)

    async def offsets(self) -> Mapping[Partition, Commit]:
        """How far the partitions of the pipeline's topic are read. Raises Unavailable or Refused."""
        async with self._connection() as connection:
            rows = await connection.fetch(_OFFSETS, self._pipeline.name, self._pipeline.topic)
        return {
            Partition(self._pipeline.topic, row["partition"]): Commit(row["next_offset"], row["topic_id"])
            for row in rows
        }

    async def begin(self, partition: Partition, commit: Commit, loss: Loss | None = None) -> None:
        """Reading begins here, and not where it ended; what was lost before is kept. Raises Unavailable or Refused."""
        lost = (loss.first, loss.events, loss.reason) if loss else (None, None, None)
        place = self._pipeline.name, partition.topic, partition.partition, commit.topic_id, commit.offset
        async with self._connection() as connection:
            await connection.execute(_BEGIN, *place, *lost)

    async def write(self, events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        """Write all events, and how far partitions are read then, in one transaction; returns the number of ties.

        Raises Unavailable, Refused, AuditRejected or AuditWentBack.
        """
        if not events and not read:
            return 0
        columns = list(zip(*map(_row, events), strict=True)) or [()] * _COLUMNS
        reached = [(*place, each.topic_id, each.since, each.until) for place, each in read.items()]
        offsets = list(zip(*reached, strict=True)) or [()] * 5
        async with self._connection() as connection:
            return int(await connection.fetchval(_WRITE, self._pipeline.name, *columns, *offsets))

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event in audit_rejects. Raises as `write` does."""
        found = event.event
        place = self._pipeline.name, event.topic, event.partition, event.offset
        what = _text(reason), _text(found.transaction.id), found.version, found.timestamp % 1000, found.event_type
        async with self._connection() as connection:
            await connection.execute(_REJECT, *place, *what, found.body, *found.position, _source(found.source))

    async def close(self) -> None:
        """Close the connections; those that do not close in time are cut."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(TimeoutError, OSError, asyncpg.InterfaceError):  # asyncpg cuts what is left
                await asyncio.wait_for(pool.close(), min(CLOSE_TIMEOUT, self._settings.timeout))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection in a transaction."""
        try:
            with postgres_errors():
                if self._pool is None:
                    self._pool = await open_pool(self._settings, "activity-indexer audit")
                async with (
                    acquired(self._pool, self._settings.timeout) as connection,
                    transaction(connection, self._settings),
                ):
                    yield connection
        except (Unavailable, Refused):
            if self._pool is not None:  # after a failover an old connection leads to the wrong server
                await self._pool.expire_connections()
            raise


def _row(event: AuditEvent) -> tuple[Any, ...]:
    """The arguments of audit_write for one event."""
    found = event.event
    transaction = found.transaction
    return (
        transaction.id,
        found.version,
        found.timestamp % 1000,
        RANKS[found.event_type],
        *found.position,
        found.content,
        found.event_type,
        _text(transaction.user_id),
        _moment(found.timestamp // 1000),
        event.topic,
        event.partition,
        event.offset,
        None if found.deleted else found.body.decode(),
        _source(found.source),
        _text(transaction.transaction_type),
        None if transaction.product is None else _text(transaction.product),
        _text(transaction.status),
        _text(transaction.currency),
        None if found.deleted else _number(bytes(transaction.amount)),
        _created(transaction.created_at),
    )


def _text(value: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return value.replace("\0", "\ufffd") if "\0" in value else value


def _source(value: str | None) -> str | None:
    return None if value is None else _text(value)


def _number(text: bytes) -> str:
    """A JSON number as `numeric` takes it: a zero needs no exponent, which might be out of range."""
    number = text.strip().decode()
    mantissa, exponent, _ = number.lower().partition("e")
    return "0" if exponent and not mantissa.strip("-0.") else number


def _created(text: str) -> datetime | None:
    try:
        return _moment(parse_timestamp(text))
    except ValueError:
        return None


def _moment(microseconds: int) -> datetime | None:
    """A time that clients can read: within the years 1 to 9999 of UTC, and not what asyncpg takes for infinity."""
    try:
        moment = EPOCH + microseconds * MICROSECOND
    except OverflowError:
        return None
    return moment if _FIRST < moment < _LAST else None
