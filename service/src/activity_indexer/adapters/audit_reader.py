"""Reads the audit in order of id: the newest state of every transaction that was ever seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from activity_indexer.adapters.paging import PageSize
from activity_indexer.adapters.postgres_connection import connect, transaction
from activity_indexer.adapters.postgres_errors import postgres_errors
from activity_indexer.event import DELETED, UNKNOWN_POSITION, Position, version_microseconds
from activity_indexer.settings import DatabaseSettings

_IDS: Final = "SELECT id FROM transaction_versions WHERE id > $1 ORDER BY id LIMIT $2"
_THESE: Final = """
    SELECT v.id, v.version, v.deleted, coalesce(t.transaction, e.transaction) AS body,
           coalesce(t.user_id, e.user_id, '') AS user_id, coalesce(t.event_type, e.event_type) AS event_type
    FROM transaction_versions v
    LEFT JOIN transactions t ON t.id = v.id AND t.version = v.version AND t.id BETWEEN $2 AND $3
    LEFT JOIN transaction_events e
        ON t.id IS NULL AND e.transaction_id = v.id AND e.version = v.version AND e.transaction_id BETWEEN $2 AND $3
    WHERE v.id = ANY($1) AND v.id BETWEEN $2 AND $3
    ORDER BY v.id
"""
"""Every table is told the range: else it may be read from its beginning for each page."""

_REJECTS: Final = """
    SELECT transaction_id, version, event_type, body FROM audit_rejects WHERE transaction_id = ANY($1)
"""
_ALL_REJECTS: Final = """
    SELECT topic, partition, "offset", transaction_id, version, event_type, body FROM audit_rejects
    WHERE (topic, partition, "offset") > ($1, $2, $3) ORDER BY topic, partition, "offset" LIMIT 100
"""
_ESTIMATE: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('transaction_versions')"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the audit keeps of a transaction.

    `version` is the base version of its newest event and `event_type` the event's (None when it was removed by hand),
    `timestamp` is in nanoseconds, `body` the transaction's JSON (bytes; None of a deleted one, and when it was removed
    by hand).
    """

    id: str
    version: int
    deleted: bool
    body: bytes | None
    user_id: str
    event_type: str | None
    timestamp: int
    position: Position = UNKNOWN_POSITION


class AuditReader:
    """A few statements, each within DATABASE_TIMEOUT: no snapshot is held for the time of a whole comparison.

    Ids come in the order of their UTF-8 bytes: the column has the collation "C". Raises Unavailable or Refused.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._connection: Any = None

    async def states(self, after: str = "") -> AsyncIterator[Sequence[Kept]]:
        """The states of all transactions whose id is above `after`, page by page."""
        size = PageSize()
        while ids := [row["id"] for row in await self._fetch(_IDS, after, size.rows)]:
            page = list((await self.these(ids)).values())
            yield page
            after = ids[-1]
            size.learn(len(page), sum(len(each.body or b"") + len(each.id) + 64 for each in page))

    async def these(self, ids: Sequence[str]) -> dict[str, Kept]:
        """The states of these transactions, by id."""
        if not ids:
            return {}
        rows = await self._fetch(_THESE, list(ids), min(ids), max(ids))
        return {row["id"]: _kept(row) for row in rows}

    async def rejected(self, ids: Sequence[str]) -> dict[str, Kept]:
        """Of these transactions the newest events that PostgreSQL refused, by id."""
        found: dict[str, Kept] = {}
        for row in await self._fetch(_REJECTS, list(ids)):
            kept = _rejected(row)
            if kept.id not in found or found[kept.id].version < kept.version:
                found[kept.id] = kept
        return found

    async def all_rejected(self) -> AsyncIterator[Sequence[Kept]]:
        """All events that PostgreSQL refused, page by page."""
        place: tuple[str, int, int] = ("", -1, -1)
        while rows := await self._fetch(_ALL_REJECTS, *place):
            yield [_rejected(row) for row in rows]
            place = rows[-1]["topic"], rows[-1]["partition"], rows[-1]["offset"]

    async def estimate(self) -> int | None:
        """About how many transactions there are, for progress; None when PostgreSQL does not know yet."""
        rows = await self._fetch(_ESTIMATE)
        return int(rows[0][0]) if rows and rows[0][0] is not None and rows[0][0] >= 0 else None

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        with postgres_errors():
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._settings, "activity-indexer reader")
            async with transaction(self._connection, self._settings):
                return list(await self._connection.fetch(query, *arguments))


def _kept(row: Any) -> Kept:
    body = None if row["deleted"] or row["body"] is None else row["body"].encode()
    event_type = DELETED if row["deleted"] else row["event_type"]
    return Kept(row["id"], row["version"], row["deleted"], body, row["user_id"], event_type, _timestamp(row["version"]))


def _timestamp(version: int) -> int:
    return version_microseconds(version) * 1000


def _rejected(row: Any) -> Kept:
    version, event_type = row["version"], row["event_type"]
    deleted = event_type == DELETED
    body = None if deleted else bytes(row["body"])
    return Kept(row["transaction_id"], version, deleted, body, "", event_type, _timestamp(version))
