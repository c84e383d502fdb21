"""The audit in PostgreSQL: whole batches in one statement, safe against repeats, late events and other writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import asyncpg

from activity_indexer.adapters.postgres.connection import acquired, open_pool, transaction
from activity_indexer.adapters.postgres.errors import postgres_errors
from activity_indexer.adapters.postgres.schema import migrate, migrations
from activity_indexer.errors import AuditRejected, Refused, Unavailable
from activity_indexer.event import RANKS, Event
from activity_indexer.ports import NOTHING_READ, AuditEvent, Read
from activity_indexer.positions import Commit, Loss, Partition
from activity_indexer.settings import DatabaseSettings, Pipeline
from activity_indexer.timestamps import EPOCH, MICROSECOND, parse_timestamp

CLOSE_TIMEOUT: Final = 3.0
"""Time that connections have to close at the end (seconds)."""


_ARGUMENTS: Final = 29
"""Of audit_write."""

_WRITE: Final = f"SELECT audit_write({', '.join(f'${number}' for number in range(1, _ARGUMENTS + 1))})"
MARKS: Final = [(chr(mark), chr(mark + 1)) for mark in (*range(0x1E, 0x0E, -2), *range(0xE000, 0xF900, 2))]
"""Pairs of characters that hardly any text has: control characters, and those that Unicode leaves to private use."""
_BEGIN: Final = "SELECT audit_begin($1, $2, $3, $4, $5, $6, $7, $8)"
_OFFSETS: Final = "SELECT partition, next_offset, topic_id FROM audit_offsets WHERE pipeline = $1 AND topic = $2"
_FIRST: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
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
        written = _written(events)
        reached = [(*place, each.topic_id, each.since, each.until) for place, each in read.items()]
        offsets = list(zip(*reached, strict=True)) or [()] * 5
        async with self._connection() as connection:
            return int(await connection.fetchval(_WRITE, self._pipeline.name, self._pipeline.topic, *written, *offsets))

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event in audit_rejects. Raises as `write` does."""
        found = event.event
        place = self._pipeline.name, event.topic, event.partition, event.offset
        what = _text(reason), _text(found.transaction.id), found.version, found.timestamp % 1000, found.event_type
        async with self._connection() as connection:
            source = found.source and _text(found.source)
            await connection.execute(_REJECT, *place, *what, found.body, *found.position, source)

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


def _written(events: Sequence[AuditEvent]) -> tuple[Any, ...]:
    """The arguments of audit_write that describe the events."""
    found = [each.event for each in events]
    positions = [event.position for event in found]
    partitions, offsets = [each.partition for each in events], [each.offset for each in events]
    record_partitions, record_offsets = [each.partition for each in positions], [each.offset for each in positions]
    is_replayed = record_partitions != partitions or record_offsets != offsets
    fractions = [event.timestamp % 1000 for event in found]
    has_fractions = any(fractions)  # else a version has the rank
    return (
        [event.version for event in found],
        partitions,
        offsets,
        [each.published for each in positions],
        [_created(event) for event in found],
        fractions if has_fractions else (),
        [RANKS[event.event_type] for event in found] if has_fractions else (),
        record_partitions if is_replayed else (),
        record_offsets if is_replayed else (),
        _passed(found),
        b"".join([event.content for event in found]),
        *_joined(_texts(found)),
    )


def _passed(events: Sequence[Event]) -> list[int]:
    """The places, from 1 on, of events that have a later one of the same transaction beside them."""
    last: dict[str, int] = {}
    passed: list[int] = []
    for place, event in enumerate(events):
        other = last.setdefault(event.transaction.id, place)
        if other != place and events[other].order < event.order:
            last[event.transaction.id] = place
            passed.append(other + 1)
        elif other != place:
            passed.append(place + 1)
    return passed


def _texts(events: Sequence[Event]) -> tuple[Sequence[str | None], ...]:
    transactions = [event.transaction for event in events]
    return (
        [each.id for each in transactions],
        [each.user_id for each in transactions],
        [event.body.decode() or None for event in events],
        [event.source for event in events],
        [each.transaction_type for each in transactions],
        [each.product for each in transactions],
        [each.status for each in transactions],
        [each.currency for each in transactions],
        _numbers([bytes(each.amount).decode() or None for each in transactions]),
    )


def _joined(columns: Sequence[Sequence[str | None]]) -> list[str | None]:
    """Each column as one text, after the characters that are between values and in place of None.

    The driver looks at each element of an array, which costs more than all else that is done for an event: a text it
    only copies. The characters are those of MARKS that no value has. Raises AuditRejected when the values have all.
    """
    if not columns[0]:
        return [None] * (2 + len(columns))
    absent = [column.count(None) for column in columns]
    between = len(columns[0]) - 1
    for cut, nothing in _candidates(columns):
        texts = [
            cut.join([nothing if value is None else value for value in column] if gaps else column)  # type: ignore[arg-type]
            for column, gaps in zip(columns, absent, strict=True)
        ]
        if all(
            text.count(cut) == between and text.count(nothing) == gaps for text, gaps in zip(texts, absent, strict=True)
        ):
            return [cut, nothing, *map(_text, texts)]
    raise AuditRejected("the events have every character that could stand between their values")


def _candidates(columns: Sequence[Sequence[str | None]]) -> Iterator[tuple[str, str]]:
    """The first pair, which hardly any text has; else the first of those that no value has."""
    yield MARKS[0]
    used: set[str] = set().union(*filter(None, chain.from_iterable(columns)))
    yield from [pair for pair in MARKS if used.isdisjoint(pair)][:1]


def _text(value: str) -> str:
    """PostgreSQL's text holds every character but NUL."""
    return value.replace("\0", "\ufffd")


def _numbers(values: Sequence[str | None]) -> Sequence[str | None]:
    """JSON numbers as `numeric` takes them: a zero needs no exponent, which might be out of range."""
    digits = "".join(filter(None, values))
    return [value and _number(value) for value in values] if "e" in digits or "E" in digits else values


def _number(text: str) -> str:
    mantissa, exponent, _ = text.lower().partition("e")
    return "0" if exponent and not mantissa.strip().strip("-0.") else text


def _created(event: Event) -> int | None:
    """When the transaction was created (microseconds since 1970), in the years 1 to 9999 that clients can read."""
    text = event.transaction.created_at
    if text == event.updated_at:
        return event.timestamp // 1000
    try:
        microseconds = parse_timestamp(text) if text else _FIRST
    except ValueError:
        return None
    return microseconds if _FIRST < microseconds < _LAST else None
