"""The audit in PostgreSQL: whole batches in one statement, safe against repeats, late events and other writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from activity_indexer.adapters.postgres_connection import acquired, open_pool, transaction
from activity_indexer.adapters.postgres_errors import postgres_errors
from activity_indexer.adapters.postgres_schema import migrate, migrations
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.ports import AuditEvent
from activity_indexer.settings import DatabaseSettings
from activity_indexer.timestamps import EPOCH, MICROSECOND, parse_timestamp

CLOSE_TIMEOUT: Final = 3.0
"""Time that connections have to part at the end (seconds)."""

_WRITE: Final = "SELECT audit_write($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_REJECT: Final = """
    INSERT INTO audit_rejects (topic, partition, "offset", reason, transaction_id, version, event_type, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT DO NOTHING
"""


class PostgresAudit:
    """An AuditStore in PostgreSQL. It connects when it is first used."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._pool: Any = None

    async def prepare(self) -> None:
        """Bring the schema up to date. Raises Unavailable or Refused."""
        async with self._connection() as connection:
            await migrate(connection, migrations())

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Write all events in one statement. Raises Unavailable, Refused or AuditRejected."""
        if not events:
            return
        columns = list(zip(*map(_row, events), strict=True))
        async with self._connection() as connection:
            await connection.execute(_WRITE, *columns)

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event in audit_rejects. Raises as `write` does."""
        found = event.event
        place = event.topic, event.partition, event.offset
        what = _text(reason), _text(found.transaction.id), found.version, found.event_type, found.body
        async with self._connection() as connection:
            await connection.execute(_REJECT, *place, *what)

    async def close(self) -> None:
        """Close the connections; those that do not part in time are cut."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(TimeoutError, OSError, asyncpg.InterfaceError):  # asyncpg cuts what is left
                await asyncio.wait_for(pool.close(), min(CLOSE_TIMEOUT, self._settings.timeout))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
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
        found.event_type,
        _text(transaction.user_id),
        _moment(found.timestamp // 1000),
        event.topic,
        event.partition,
        event.offset,
        None if found.deleted else found.body.decode(),
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
