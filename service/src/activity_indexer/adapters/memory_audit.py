"""The audit in memory: the same promises as PostgreSQL's, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from activity_indexer.errors import ActivityIndexerError, AuditRejected
from activity_indexer.event import Event
from activity_indexer.ports import AuditEvent


def nothing_is_refused(_: AuditEvent) -> bool:
    """Every event is taken."""
    return False


@dataclass
class MemoryAudit:
    """An AuditStore in memory.

    `transactions` holds the newest event of each live transaction, `history` every event once by (id, version),
    `rejects` the events put aside with their reason, by topic, partition and offset. `failures` are raised by the
    next calls, one each. `refuses` tells the events that count as values no database takes.
    """

    refuses: Callable[[AuditEvent], bool] = nothing_is_refused
    refuses_rejects: bool = False
    failures: list[ActivityIndexerError] = field(default_factory=list)
    prepared: int = 0
    writes: list[int] = field(default_factory=list)
    transactions: dict[str, Event] = field(default_factory=dict)
    history: dict[tuple[str, int], AuditEvent] = field(default_factory=dict)
    rejects: dict[tuple[str, int, int], tuple[AuditEvent, str]] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Count the call. Raises the next of `failures`."""
        self._fail()
        self.prepared += 1

    async def write(self, events: Sequence[AuditEvent]) -> None:
        """Write all events or none. Raises the next of `failures`, or AuditRejected."""
        self._fail()
        self.writes.append(len(events))
        if any(self.refuses(event) for event in events):
            raise AuditRejected("a value is refused")
        for event in events:
            self._apply(event)

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event apart. Raises the next of `failures`, or AuditRejected when `refuses_rejects`."""
        self._fail()
        if self.refuses_rejects:
            raise AuditRejected("a value is refused")
        self.rejects.setdefault((event.topic, event.partition, event.offset), (event, reason))

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def _apply(self, event: AuditEvent) -> None:
        found = event.event
        identifier = found.transaction.id
        self.history.setdefault((identifier, found.version), event)
        if found.version <= self._versions.get(identifier, 0):
            return
        self._versions[identifier] = found.version
        if found.deleted:
            self.transactions.pop(identifier, None)
        else:
            self.transactions[identifier] = found
