"""The audit in memory: the same promises as PostgreSQL's, for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from activity_indexer.errors import ActivityIndexerError, AuditRejected, AuditWentBack
from activity_indexer.event import Event
from activity_indexer.ports import NOTHING_READ, AuditEvent, Partition, Read
from activity_indexer.positions import Commit, Loss

Identity = tuple[str, str, int, bytes]
"""Id, event type, timestamp (nanoseconds) and content: what no two different events have in common."""


def nothing_is_refused(_: AuditEvent) -> bool:
    """Every event is taken."""
    return False


@dataclass
class MemoryAudit:
    """An AuditStore in memory.

    `transactions` holds the newest event of each live transaction, `history` every event once, `rejects` the events put
    aside with their reason, by topic, partition and offset. `failures` are raised by the next calls, one each.
    `refuses` tells the events that count as values no database takes.
    """

    refuses: Callable[[AuditEvent], bool] = nothing_is_refused
    refuses_rejects: bool = False
    failures: list[ActivityIndexerError] = field(default_factory=list)
    prepared: int = 0
    writes: list[int] = field(default_factory=list)
    transactions: dict[str, Event] = field(default_factory=dict)
    history: dict[Identity, AuditEvent] = field(default_factory=dict)
    rejects: dict[tuple[str, int, int], tuple[AuditEvent, str]] = field(default_factory=dict)
    read: dict[Partition, Commit] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    _newest: dict[str, Event] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Count the call. Raises the next of `failures`."""
        self._fail()
        self.prepared += 1

    async def offsets(self) -> Mapping[Partition, Commit]:
        """How far partitions are read. Raises the next of `failures`."""
        self._fail()
        return dict(self.read)

    async def begin(self, partition: Partition, commit: Commit, loss: Loss | None = None) -> None:
        """Reading begins here. Raises the next of `failures`."""
        self._fail()
        self.read[partition] = commit
        if loss:
            self.losses.append(loss)

    async def write(self, events: Sequence[AuditEvent], read: Mapping[Partition, Read] = NOTHING_READ) -> int:
        """Write all or nothing. Raises the next of `failures`, AuditRejected or AuditWentBack."""
        self._fail()
        if not events and not read:
            return 0
        self.writes.append(len(events))
        if any(self.read.get(partition, Commit(0)).offset < each.since for partition, each in read.items()):
            raise AuditWentBack("an older backup is in place")
        if any(self.refuses(event) for event in events):
            raise AuditRejected("a value is refused")
        ties = sum(self._apply(event) for event in events)
        for partition, each in read.items():
            known = self.read.get(partition, Commit(0))
            if known.belongs_to(each.topic_id):
                self.read[partition] = Commit(max(known.offset, each.until), each.topic_id or known.topic_id)
        return ties

    async def reject(self, event: AuditEvent, reason: str) -> None:
        """Keep an event apart. Raises the next of `failures`, or AuditRejected when `refuses_rejects`."""
        self._fail()
        if self.refuses_rejects:
            raise AuditRejected("a value is refused")
        place = event.topic, event.partition, event.offset
        known = self.rejects.get(place)
        if known is None or _identity(known[0].event) != _identity(event.event):
            self.rejects[place] = event, reason

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def _apply(self, event: AuditEvent) -> bool:
        """Whether it is a tie."""
        found = event.event
        key = found.transaction.id
        tie = _identity(found) not in self.history and any(each[:3] == _identity(found)[:3] for each in self.history)
        self.history.setdefault(_identity(found), event)
        if (known := self._newest.get(key)) is None or known.order < found.order:
            self._newest[key] = found
            self.transactions.pop(key, None)
            if not found.deleted:
                self.transactions[key] = found
        return tie


def _identity(event: Event) -> Identity:
    return event.transaction.id, event.event_type, event.timestamp, event.content
