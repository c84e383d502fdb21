"""Reads the audit in order of id: the newest state of every transaction that was ever seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from activity_indexer.adapters.paging import PageSize
from activity_indexer.adapters.postgres.connection import connect, transaction
from activity_indexer.adapters.postgres.errors import postgres_errors
from activity_indexer.adapters.postgres.schema import check_pipeline
from activity_indexer.errors import Refused
from activity_indexer.event import DELETED, EVENT_TYPES, RANKS, UNKNOWN_POSITION, Order, Position, version_microseconds
from activity_indexer.settings import DatabaseSettings, Pipeline

_IDS: Final = "SELECT id FROM transaction_versions WHERE pipeline = $1 AND id > $2 ORDER BY id LIMIT $3"
_THESE: Final = """
    SELECT v.id, v.version, v.nanoseconds, v.rank, v.published, v.published_partition, v.published_offset,
           coalesce(t.transaction, e.transaction) AS body, coalesce(t.user_id, e.user_id, '') AS user_id,
           coalesce(t.source, e.source) AS source
    FROM transaction_versions v
    LEFT JOIN transactions t ON t.pipeline = $1 AND t.id = v.id AND t.version = v.version AND t.id BETWEEN $3 AND $4
    LEFT JOIN LATERAL (
        SELECT * FROM transaction_events h
        WHERE t.id IS NULL AND h.pipeline = $1 AND h.transaction_id = v.id AND h.version = v.version
            AND h.nanoseconds = v.nanoseconds AND h.rank = v.rank
        ORDER BY h.content = v.content DESC, h.published DESC, h.published_partition DESC, h.published_offset DESC
        LIMIT 1
    ) e ON true
    WHERE v.pipeline = $1 AND v.id = ANY($2) AND v.id BETWEEN $3 AND $4
    ORDER BY v.id
"""
"""Every table gets the range: else it may be read from its beginning for each page."""

_REJECTED: Final = """
    SELECT topic, partition, "offset", transaction_id AS id, version, nanoseconds, event_type, body, source,
           published, published_partition, published_offset
    FROM audit_rejects WHERE pipeline = $1
"""
_REJECTS: Final = f"{_REJECTED} AND transaction_id = ANY($2)"
_ALL_REJECTS: Final = f"""
    {_REJECTED} AND (topic, partition, "offset") > ($2, $3, $4) ORDER BY topic, partition, "offset" LIMIT 100
"""
_ESTIMATE: Final = """
    SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('transaction_versions')
        AND (SELECT count(*) FROM audit_pipelines) = 1
"""
_READ: Final = """
    SELECT partition, topic_id, first_offset, next_offset FROM audit_offsets WHERE pipeline = $1 AND topic = $2
"""
_LOST: Final = """
    SELECT partition, topic_id, first_offset, records FROM audit_losses WHERE pipeline = $1 AND topic = $2
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the audit keeps of a transaction: its newest event.

    `version` is the event's base version, `timestamp` is in nanoseconds, `body` the transaction's JSON (bytes; None of
    a deleted one, and when it was removed by hand), `source` the envelope's.
    """

    id: str
    version: int
    deleted: bool
    body: bytes | None
    user_id: str
    event_type: str
    timestamp: int
    position: Position = UNKNOWN_POSITION
    source: str | None = None

    @property
    def order(self) -> Order:
        """The place of its event in the order of events."""
        return Order(self.timestamp, RANKS[self.event_type], self.position)


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a partition the audit has read: offsets from `first` on and below `next`, but for the gaps."""

    first: int
    next: int
    gaps: tuple[range, ...] = ()

    def covers(self, offset: int) -> bool:
        """Whether the record at this offset was read."""
        return self.first <= offset < self.next and not any(offset in gap for gap in self.gaps)


class AuditReader:
    """What the audit has of one pipeline, in a few statements, each within DATABASE_TIMEOUT.

    No snapshot is held for the time of a whole comparison. Ids come in the order of their UTF-8 bytes: the column has
    the collation "C". Raises Unavailable, or Refused, also when the database has nothing of this pipeline.
    """

    def __init__(self, settings: DatabaseSettings, pipeline: Pipeline) -> None:
        self._settings = settings
        self._pipeline = pipeline
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
            if kept.id not in found or found[kept.id].order < kept.order:
                found[kept.id] = kept
        return found

    async def all_rejected(self) -> AsyncIterator[Sequence[Kept]]:
        """All events that PostgreSQL refused, page by page."""
        place: tuple[str, int, int] = ("", -1, -1)
        while rows := await self._fetch(_ALL_REJECTS, *place):
            yield [_rejected(row) for row in rows]
            place = rows[-1]["topic"], rows[-1]["partition"], rows[-1]["offset"]

    async def read(self) -> dict[int, Extent]:
        """What of the topic the audit has read, by partition."""
        topic = self._pipeline.topic
        gaps: defaultdict[tuple[int, str], list[range]] = defaultdict(list)
        for row in await self._fetch(_LOST, topic):
            first = row["first_offset"]
            gaps[row["partition"], row["topic_id"]].append(range(first, first + row["records"]))
        return {
            row["partition"]: Extent(
                row["first_offset"], row["next_offset"], tuple(gaps[row["partition"], row["topic_id"]])
            )
            for row in await self._fetch(_READ, topic)
        }

    async def offsets(self) -> dict[int, int]:
        """The next offset that the audit reads of each partition: all before it that it can have is here."""
        return {row["partition"]: row["next_offset"] for row in await self._fetch(_READ, self._pipeline.topic)}

    async def estimate(self) -> int | None:
        """About how many transactions there are, for progress; None when PostgreSQL does not know."""
        rows = await self._fetch(_ESTIMATE, of_pipeline=False)
        return int(rows[0][0]) if rows and rows[0][0] is not None and rows[0][0] >= 0 else None

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _fetch(self, query: str, *arguments: Any, of_pipeline: bool = True) -> list[Any]:
        with postgres_errors():
            if fresh := self._connection is None or self._connection.is_closed():
                self._connection = await connect(self._settings, "activity-indexer reader")
            try:
                async with transaction(self._connection, self._settings):
                    if fresh:
                        await check_pipeline(self._connection, self._pipeline)
                    owner = (self._pipeline.name,) if of_pipeline else ()
                    return list(await self._connection.fetch(query, *owner, *arguments))
            except Refused:
                await self.close()
                raise


def _kept(row: Any) -> Kept:
    event_type = EVENT_TYPES[row["rank"]]
    deleted = event_type == DELETED
    body = None if deleted or row["body"] is None else row["body"].encode()
    return Kept(
        row["id"],
        row["version"],
        deleted,
        body,
        row["user_id"],
        event_type,
        _timestamp(row),
        _position(row),
        row["source"],
    )


def _rejected(row: Any) -> Kept:
    event_type = row["event_type"]
    deleted = event_type == DELETED
    body = None if deleted else bytes(row["body"])
    return Kept(
        row["id"], row["version"], deleted, body, "", event_type, _timestamp(row), _position(row), row["source"]
    )


def _timestamp(row: Any) -> int:
    return version_microseconds(row["version"]) * 1000 + int(row["nanoseconds"])


def _position(row: Any) -> Position:
    return Position(row["published"], row["published_partition"], row["published_offset"])
