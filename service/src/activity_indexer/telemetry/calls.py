"""Measures and traces the calls to servers: each port in a wrapper that changes nothing of what it does."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from activity_indexer.consumer import RecordSource
from activity_indexer.ports import (
    NOTHING_READ,
    AuditEvent,
    AuditStore,
    BulkIndex,
    BulkReply,
    DeadLetters,
    OutRecord,
    Read,
    SeenStore,
    Stored,
)
from activity_indexer.positions import Commit, Loss, Partition
from activity_indexer.reports import BulkTook, CallEnded, Dependency, Emit
from activity_indexer.tracing import Attributes, Call, Tracing

_TOOK: Final = re.compile(rb'"took":(\d{1,9})')
_REJECTS: Final = "audit_rejects"
_HEAD: Final = 100
"""Bytes of a bulk answer before its items."""


class Calls:
    """Counts and times calls, and makes spans of those that are part of a batch that is recorded."""

    def __init__(self, emit: Emit, tracing: Tracing) -> None:
        self.emit = emit
        self.tracing = tracing

    @contextmanager
    def call(self, dependency: Dependency, operation: str, name: str, attributes: Attributes) -> Iterator[Call]:
        """One call; it has failed when it raises."""
        started = time.perf_counter()
        failed = True
        try:
            with self.tracing.call(name, attributes) as span:
                yield span
            failed = False
        finally:
            self.emit(CallEnded(dependency, operation, time.perf_counter() - started, failed))


class MeasuredIndex:
    """ports.BulkIndex."""

    def __init__(self, inner: BulkIndex, calls: Calls, index: str) -> None:
        self._inner = inner
        self._calls = calls
        self._name = f"bulk {index}"
        self._read_name = f"mget {index}"
        self._attributes = {
            "db.system.name": "elasticsearch",
            "db.operation.name": "bulk",
            "db.collection.name": index,
            "http.request.method": "POST",
        }

    async def bulk(self, body: bytes) -> BulkReply:
        """Send ready NDJSON."""
        attributes: Attributes = {**self._attributes, "http.request.body.size": len(body)}
        with self._calls.call(Dependency.ELASTICSEARCH, "bulk", self._name, attributes) as span:
            if span.recorded:
                span.notify({"db.operation.batch.size": body.count(b"\n") // 2})
            reply = await self._inner.bulk(body)
            known: dict[str, str | float] = {"db.response.status_code": str(reply.status)}
            if took := _TOOK.search(reply.body, 0, _HEAD):
                known["activity_indexer.elasticsearch.took"] = int(took[1]) / 1000
                self._calls.emit(BulkTook(int(took[1]) / 1000))
            span.notify(known)
        return reply

    async def read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        """Documents by id, as they are now."""
        attributes: Attributes = {
            **self._attributes,
            "db.operation.name": "mget",
            "db.operation.batch.size": len(identifiers),
        }
        with self._calls.call(Dependency.ELASTICSEARCH, "read", self._read_name, attributes):
            return await self._inner.read(identifiers)

    async def prepare(self) -> None:
        """Create index, mapping and alias when absent."""
        with self._calls.call(Dependency.ELASTICSEARCH, "prepare", "prepare", {"db.system.name": "elasticsearch"}):
            await self._inner.prepare()


class MeasuredSeen:
    """ports.SeenStore."""

    def __init__(self, inner: SeenStore, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    async def seen(self, ids: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """What was marked for those of the ids that are known."""
        with self._calls.call(Dependency.REDIS, "seen", "MGET", _redis("MGET", ids)):
            return await self._inner.seen(ids)

    async def mark(self, entries: Mapping[bytes, bytes]) -> None:
        """Remember the entries."""
        with self._calls.call(Dependency.REDIS, "mark", "EVALSHA", _redis("EVALSHA", entries)):
            await self._inner.mark(entries)


class _Unacknowledged(Exception):
    """Records are left over."""


class MeasuredDeadLetters:
    """ports.DeadLetters; that records are left over is a failure, too."""

    def __init__(self, inner: DeadLetters, calls: Calls, topic: str) -> None:
        self._inner = inner
        self._calls = calls
        self._name = f"send {topic}"
        self._attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
        }

    async def send(self, records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        """Write records; returns those that are not acknowledged, and why."""
        attributes: Attributes = {**self._attributes, "messaging.batch.message_count": len(records)}
        left, problem = records, ""
        with suppress(_Unacknowledged), self._calls.call(Dependency.KAFKA, "send", self._name, attributes):
            left, problem = await self._inner.send(records)
            if left:
                raise _Unacknowledged
        return left, problem


class MeasuredSource:
    """consumer.RecordSource; its commits are measured."""

    def __init__(self, inner: RecordSource, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls
        self.poll = inner.poll
        self.position = inner.position
        self.seek = inner.seek
        self.ends = inner.ends

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets."""
        with self._calls.call(Dependency.KAFKA, "commit", "commit", {"messaging.system": "kafka"}):
            await self._inner.commit(offsets)


class MeasuredAudit:
    """ports.AuditStore."""

    def __init__(self, inner: AuditStore, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    async def prepare(self) -> None:
        """Bring the schema up to date."""
        with self._calls.call(Dependency.POSTGRES, "prepare", "migrate", {"db.system.name": "postgresql"}):
            await self._inner.prepare()

    async def offsets(self) -> Mapping[Partition, Commit]:
        """How far partitions are read."""
        with self._calls.call(Dependency.POSTGRES, "prepare", "SELECT audit_offsets", {"db.system.name": "postgresql"}):
            return await self._inner.offsets()

    async def begin(self, partition: Partition, commit: Commit, loss: Loss | None = None) -> None:
        """Reading begins here."""
        attributes: Attributes = {"db.system.name": "postgresql", "db.stored_procedure.name": "audit_begin"}
        with self._calls.call(Dependency.POSTGRES, "prepare", "SELECT audit_begin", attributes):
            await self._inner.begin(partition, commit, loss)

    async def write(self, events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        """Write all events, and how far partitions are read, in one statement."""
        attributes: Attributes = {
            "db.system.name": "postgresql",
            "db.operation.name": "SELECT",
            "db.stored_procedure.name": "audit_write",
            "db.operation.batch.size": len(events),
        }
        with self._calls.call(Dependency.POSTGRES, "write", "SELECT audit_write", attributes):
            return await self._inner.write(events, read)

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event that the database refuses, apart."""
        attributes = {"db.system.name": "postgresql", "db.operation.name": "INSERT", "db.collection.name": _REJECTS}
        with self._calls.call(Dependency.POSTGRES, "reject", f"INSERT {_REJECTS}", attributes):
            await self._inner.reject(event, reason)


def _redis(command: str, ids: Collection[bytes]) -> Attributes:
    return {"db.system.name": "redis", "db.operation.name": command, "db.operation.batch.size": len(ids)}
