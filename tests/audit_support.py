"""Events and tables for the tests of the audit."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import asyncpg

from activity_indexer.adapters.memory_audit import MemoryAudit
from activity_indexer.adapters.postgres.audit_store import PostgresAudit
from activity_indexer.event import RANKS, Event, Position, version_microseconds
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.ports import AuditEvent, AuditStore
from activity_indexer.settings import DatabaseSettings, Pipeline
from activity_indexer.timestamps import EPOCH, MICROSECOND, parse_timestamp

END_OF_TIME = 2**60
PUBLISHED = 4_000_000_000_000
"""Later than what a test publishes (milliseconds)."""

PIPELINE = Pipeline("tests", "transactions")
KINDS = ("created", "updated", "deleted")


def value(identifier: str, second: float = 0, kind: str = "created", **fields: Any) -> bytes:
    """The value of a valid event's record."""
    transaction = {
        "id": identifier,
        "user_id": "user_1",
        "transaction_type": "card",
        "status": f"after {second}",
        "currency": "USD",
        "amount": 12.5,
        "created_at": "2024-01-01T12:00:00Z",
        **fields,
    }
    whole, nanoseconds = divmod(round(second * 1_000_000_000), 1_000_000_000)
    fraction = f".{nanoseconds:09}" if nanoseconds else ""
    timestamp = f"2024-01-01T{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{fraction}Z"
    return json.dumps(
        {"event_type": f"transaction.{kind}", "transaction": transaction, "timestamp": timestamp, "source": "test"}
    ).encode()


def audited(record: bytes, offset: int = 0, partition: int = 0, topic: str = "transactions") -> AuditEvent:
    """The event in a record's value, with a place."""
    return AuditEvent(
        decode_event(record, END_OF_TIME, Position(PUBLISHED, partition, offset)), topic, partition, offset
    )


def audit_event(
    identifier: str, second: float = 0, kind: str = "created", offset: int = 0, partition: int = 0, **fields: Any
) -> AuditEvent:
    """A valid event."""
    return audited(value(identifier, second, kind, **fields), offset, partition)


def with_raw(identifier: str, **raw: bytes) -> AuditEvent:
    """A valid event in which these fields are this JSON text."""
    text = value(identifier, **dict.fromkeys(raw, "PLACE"))
    for name, given in raw.items():
        text = text.replace(f'"{name}": "PLACE"'.encode(), f'"{name}": '.encode() + given)
    return audited(text)


def row_of_0002(event: AuditEvent) -> tuple[Any, ...]:
    """The arguments for one event of the audit_write that the second migration made."""
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
        transaction.user_id,
        EPOCH + found.timestamp // 1000 * MICROSECOND,
        event.topic,
        event.partition,
        event.offset,
        None if found.deleted else found.body.decode(),
        found.source,
        transaction.transaction_type,
        transaction.product,
        transaction.status,
        transaction.currency,
        None if found.deleted else bytes(transaction.amount).decode(),
        None if found.deleted else EPOCH + parse_timestamp(transaction.created_at) * MICROSECOND,
    )


async def write_as_0002(connection: Any, pipeline: Pipeline, event: AuditEvent) -> int:
    """Write an event as an indexer of the release before does; returns the number of ties."""
    row = row_of_0002(event)
    arguments = ", ".join(f"${number}" for number in range(1, len(row) + 7))
    columns = [*([value] for value in row), [], [], [], [], []]
    return int(await connection.fetchval(f"SELECT audit_write({arguments})", pipeline.name, *columns))


class Identity(NamedTuple):
    """What no two different events have in common; the timestamp is in nanoseconds."""

    id: str
    timestamp: int
    rank: int
    content: bytes


def identity(event: Event) -> Identity:
    return Identity(event.transaction.id, event.timestamp, RANKS[event.event_type], event.content)


@dataclass(frozen=True)
class Tables:
    """What an audit holds: id → (version, body), event → body, and offset → (reason, body)."""

    live: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    history: dict[Identity, bytes | None] = field(default_factory=dict)
    rejects: dict[int, tuple[str, bytes]] = field(default_factory=dict)


class Audited(Protocol):
    """A store, and a look into it."""

    store: AuditStore

    async def tables(self, prefix: str = "") -> Tables:
        """All whose id begins so, without that beginning."""


class InMemory:
    """The fake."""

    def __init__(self) -> None:
        self.store: MemoryAudit = MemoryAudit()

    async def tables(self, prefix: str = "") -> Tables:
        cut = len(prefix)
        live = self.store.transactions.items()
        return Tables(
            {key[cut:]: (event.version, event.body) for key, event in live if key.startswith(prefix)},
            {
                identity(event)._replace(id=event.transaction.id[cut:]): None if event.deleted else event.body
                for event in (found.event for found in self.store.history.values())
                if event.transaction.id.startswith(prefix)
            },
            {place[2]: (reason, found.event.body) for place, (found, reason) in self.store.rejects.items()},
        )


class InPostgres:
    """PostgreSQL, in a schema of a test's own. `url` is for stores, `connection` for looking."""

    def __init__(self, url: str, connection: Any) -> None:
        self.url = url
        self.connection = connection
        self.store = self.another()

    def another(self, pipeline: Pipeline = PIPELINE, **settings: Any) -> PostgresAudit:
        """One more store on the same tables."""
        return PostgresAudit(DatabaseSettings(**{"url": self.url, "timeout": 10, **settings}), pipeline)

    async def tables(self, prefix: str = "") -> Tables:
        cut = len(prefix)
        fetch = self.connection.fetch
        live = await fetch("SELECT id, version, transaction FROM transactions WHERE starts_with(id, $1)", prefix)
        history = await fetch(
            "SELECT transaction_id, version, nanoseconds, rank, content, transaction FROM transaction_events "
            "WHERE starts_with(transaction_id, $1)",
            prefix,
        )
        rejects = await fetch('SELECT "offset", reason, body FROM audit_rejects')
        return Tables(
            {row[0][cut:]: (row[1], row[2].encode()) for row in live},
            {
                Identity(row[0][cut:], version_microseconds(row[1]) * 1000 + row[2], row[3], row[4]): row[5]
                and row[5].encode()
                for row in history
            },
            {row[0]: (row[1], row[2]) for row in rejects},
        )


@asynccontextmanager
async def schema_of_its_own(database_url: str) -> AsyncIterator[InPostgres]:
    """A store on an empty schema."""
    name = f"audit_{uuid.uuid4().hex[:12]}"
    url = f"{database_url}?search_path={name}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE SCHEMA {name}")
    found = InPostgres(url, connection)
    try:
        yield found
    finally:
        await found.store.close()
        await connection.execute(f"DROP SCHEMA {name} CASCADE")
        await connection.close()
