"""What does not move or needs attention: until it is over, a fact in probes, status page and `status`, and lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import structlog

from activity_indexer.facts import Severity
from activity_indexer.positions import RECREATED, RETENTION, TRUNCATION
from activity_indexer.reports import (
    AuditCrashed,
    BreakerClosed,
    BreakerOpened,
    Dependency,
    DependencyChanged,
    DocumentsSentAlone,
    EventsLost,
    LagMeasured,
    PartitionsCorrupt,
    PartitionsRevoked,
    ProblemChanged,
    on,
)
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.logging import Repeats
from activity_indexer.telemetry.masking import without_values
from activity_indexer.timestamps import format_timestamp

OPEN_TRANSACTION: Final = "open_transaction"
EVENTS_LOST: Final = "events_lost"
AUDIT: Final = "audit"
HELD_SHOWN: Final = 10.0
"""How long a transaction must be open before it is a fact (seconds): most end sooner, and are no news."""

HELD_ADVICE: Final = (
    "kafka-transactions find-hanging names the transaction; "
    "where its producer is gone, kafka-transactions abort ends it"
)
LOSS_SHOWN: Final = 3600.0
"""How long it is a fact that events were lost (seconds)."""

LOSS_ADVICE: Final = {
    RETENTION: "the topic's retention deleted them before they were read: find out why the group was behind, raise "
    "retention.ms, and publish the events again if their producer still has them",
    TRUNCATION: "the partition ends before the offset that was read last: a broker without these records became its "
    "leader. What is there is read again from its first record",
    RECREATED: "they were in the topic that was deleted, and not read yet: publish them again",
}
_VERB: Final = {Severity.BLOCKS: "blocked", Severity.WAITS: "failed", Severity.WARNS: "warned"}


class Problems:
    """The problems of the indexer.

    `longest_wait` is the longest time between two tries of one thing (seconds): silence for this long is no stall.
    A problem that lasts is logged once in a while, and once when it is over.
    """

    def __init__(self, health: Health, longest_wait: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._health = health
        self._longest_wait = longest_wait
        self._clock = clock
        self._log = structlog.get_logger("activity_indexer.indexer")
        self._repeats = Repeats()
        self._known: set[tuple[str, str]] = set()

    @on(ProblemChanged)
    def _changed(self, changed: ProblemChanged) -> None:
        """A fact that holds until it is reported as over, and a line once in a while."""
        code, reason, subject, advice = changed.code, changed.problem, changed.subject, changed.advice
        if reason is None:
            self._over(code, subject)
            return
        match changed.severity:
            case Severity.WAITS:
                self._health.waiting(code, reason, self._longest_wait, subject)
            case Severity.WARNS:
                self._health.warned(code, reason, subject, advice)
            case _:
                self._health.blocked(code, reason, subject, advice)
        self._known.add((code, subject))
        event = f"{code}.{_VERB[changed.severity]}"
        suppressed = self._repeats.suppressed(self._clock(), event, subject)
        if suppressed is not None:
            level = logging.ERROR if changed.severity is Severity.BLOCKS else logging.WARNING
            more = {"subject": subject, "advice": advice, "suppressed": suppressed}
            self._log.log(level, event, reason=reason, **{name: value for name, value in more.items() if value})

    @on(DependencyChanged)
    def _dependency_changed(self, changed: DependencyChanged) -> None:
        """What a dependency does not do; one that nothing waits for (Redis) is reported when that begins and ends."""
        name = changed.dependency
        if changed.problem is not None and changed.severity is Severity.WARNS:
            if (name, "") not in self._known:
                self._known.add((name, ""))
                self._health.warned(name, changed.problem)
                self._log.warning(f"{name}.failed", reason=changed.problem)
        elif changed.problem is not None or (name, "") in self._known:
            self._changed(ProblemChanged(name, changed.problem, changed.severity))
            if changed.problem is not None and changed.starting:
                self._health.blocked(name, changed.problem)

    @on(BreakerOpened)
    def _breaker_opened(self, opened: BreakerOpened) -> None:
        problem = (
            f"{opened.share:.0%} of the latest valid events cannot be indexed, such as: "
            f"{without_values(opened.example)}; "
            "intake is stopped, except for a batch in each CONSUMER_BREAKER_RETRY_INTERVAL. It goes on when what is "
            "held, or that batch, passes: correct the mapping, the strategy or the producer. "
            "CONSUMER_BREAKER_THRESHOLD=1 dead-letters what fails without a pause"
        )
        self._changed(ProblemChanged("breaker", problem))

    @on(BreakerClosed)
    def _breaker_closed(self, _: BreakerClosed) -> None:
        self._over("breaker")

    @on(DocumentsSentAlone)
    def _sent_alone(self, alone: DocumentsSentAlone) -> None:
        if not alone.documents:
            self._over("documents")
        elif alone.reason:
            problem = f"{alone.documents} sent alone, refused while others pass: {alone.reason}"
            self._changed(ProblemChanged("documents", problem, Severity.WAITS))

    @on(PartitionsCorrupt)
    def _corrupt(self, corrupt: PartitionsCorrupt) -> None:
        self._changed(ProblemChanged("records", "; ".join(corrupt.partitions.values()) or None))

    @on(LagMeasured)
    def _lag_measured(self, lag: LagMeasured) -> None:
        subject = f"partition {lag.partition.partition}"
        if not lag.held or lag.held_seconds < HELD_SHOWN:
            self._over(OPEN_TRANSACTION, subject)
            return
        since = format_timestamp(int(time.time() - lag.held_seconds) * 1_000_000)
        problem = f"{lag.held} events wait behind a transaction that a producer left open since {since}"
        self._changed(ProblemChanged(OPEN_TRANSACTION, problem, Severity.WARNS, subject, HELD_ADVICE))

    @on(PartitionsRevoked)
    def _revoked(self, _: PartitionsRevoked) -> None:
        """What holds a partition is forgotten with it."""
        for code, subject in list(self._known):
            if code == OPEN_TRANSACTION:
                self._over(code, subject)

    @on(EventsLost)
    def _lost(self, lost: EventsLost) -> None:
        loss = lost.loss
        reason = f"{loss.events} events from offset {loss.first} on ({loss.reason})"
        subject = f"partition {loss.partition.partition}"
        self._health.warned(EVENTS_LOST, reason, subject, LOSS_ADVICE[loss.reason], LOSS_SHOWN)

    def _over(self, code: str, subject: str = "") -> None:
        if (code, subject) in self._known:
            self._known.discard((code, subject))
            self._health.settled(code, subject)
            self._log.info(f"{code}.recovered", **({"subject": subject} if subject else {}))


class AuditProblems:
    """The problems of the audit only warn, as indexing goes on without it; its connection to Kafka is not shown."""

    def __init__(self, health: Health) -> None:
        self._health = health

    @on(DependencyChanged)
    def _dependency_changed(self, changed: DependencyChanged) -> None:
        if changed.dependency is not Dependency.POSTGRES:
            return
        if changed.problem is None:
            self._health.settled(AUDIT)
        else:
            self._health.warned(AUDIT, f"it is paused: {changed.problem}")

    @on(EventsLost)
    def _lost(self, lost: EventsLost) -> None:
        loss = lost.loss
        reason = f"{loss.events} events from offset {loss.first} on were gone before they were read ({loss.reason})"
        self._health.warned(f"{AUDIT}_{EVENTS_LOST}", reason, f"partition {loss.partition.partition}", "", LOSS_SHOWN)

    @on(AuditCrashed)
    def _crashed(self, crashed: AuditCrashed) -> None:
        reason = f"it ended by a defect and begins again, see the log: {type(crashed.error).__name__}"
        self._health.warned(AUDIT, reason)
