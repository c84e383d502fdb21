"""Turns what the indexer and its audit tell into logs, metrics and health."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog

from activity_indexer.dead_letter import Failure
from activity_indexer.event import Event
from activity_indexer.facts import Severity
from activity_indexer.observer import BatchSummary, Written
from activity_indexer.ports import AuditOutcome, Backlog, Partition, Record
from activity_indexer.positions import RECREATED, RETENTION, TRUNCATION, Loss
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.logging import Repeats, is_debug, log_event
from activity_indexer.telemetry.masking import without_values
from activity_indexer.telemetry.metrics.declarations import OUTCOMES
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.timestamps import format_timestamp

KAFKA: Final = "kafka"
ELASTICSEARCH: Final = "elasticsearch"
INDEX: Final = "index"
REDIS: Final = "redis"
BREAKER: Final = "breaker"
DEAD_LETTERS: Final = "dead_letters"
ALONE: Final = "documents"
AUDIT: Final = "audit"
TOPIC: Final = "topic"
MEMBERSHIP: Final = "membership"
OPEN_TRANSACTION: Final = "open_transaction"
EVENTS_LOST: Final = "events_lost"
_EVENT: Final = {Severity.BLOCKS: "blocked", Severity.WAITS: "failed", Severity.WARNS: "warned"}
RECORDS: Final = "records"
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
_ANSWERED: Final = frozenset({"done", "partial"})


class Reporter:
    """The observer of a running indexer.

    `longest_wait` is the longest time between two tries of one thing (seconds): so long no news of a wait is no stall.
    A problem that lasts is logged once in a while, and once when it is over. `follow` is told of a document of each
    batch.
    """

    def __init__(
        self, health: Health, metrics: Metrics, longest_wait: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.follow: Callable[[Written], None] = lambda _written: None
        self._health = health
        self._metrics = metrics
        self._longest_wait = longest_wait
        self._clock = clock
        self._log = structlog.get_logger(__name__)
        self._repeats = Repeats()
        self._up: dict[str, bool] = {}
        self._problems: set[tuple[str, str]] = set()
        self._lost: dict[int, int] = {}
        self._revoked_at: float | None = None

    @property
    def debug(self) -> bool:
        """Whether each event is wanted."""
        return is_debug()

    # Events and batches

    def polled(self, records: int, size: int) -> None:
        """Records came, with so many bytes of values."""
        self._metrics.consumed(records, size)

    def buffered(self, events: int) -> None:
        """Events wait for their turn."""
        self._metrics.buffered(events)

    def event_decoded(self, event: Event) -> None:
        """The line of one event."""
        log_event(event.event_type, event.transaction.id, event.message_id)

    def stage_done(self, stage: str, seconds: float) -> None:
        """A batch went through a stage."""
        self._metrics.stage(stage, seconds)

    def batch_started(self, waited: float) -> None:
        """A batch began."""
        self._metrics.waited(waited)

    def batch_done(self, summary: BatchSummary) -> None:
        """A batch is settled: one line, and all its numbers."""
        self._health.progressed()
        metrics = self._metrics
        metrics.batch(summary.events, summary.size, summary.duration)
        metrics.event_ages(summary.ages)
        if summary.undated:
            metrics.undated(summary.undated)
            self._tell(
                logging.WARNING,
                "events.undated",
                events=summary.undated,
                reason="the timestamps of their records are not milliseconds since the epoch, or are ahead of this "
                "machine's clock: correct the producer, or set the topic's message.timestamp.type to LogAppendTime",
            )
        if summary.example is not None:
            self.follow(summary.example)
        for (outcome, event_type), count in summary.outcomes.items():
            metrics.settled(outcome, event_type, count)
        for result, count in summary.ties.items():
            metrics.tied(result, count)
        metrics.dedup("memory", summary.looked_up, summary.known_in_memory)
        if self._up.get(REDIS):
            metrics.dedup(REDIS, summary.looked_up - summary.known_in_memory, summary.known_in_store)
        totals = {outcome: count for outcome in OUTCOMES if (count := summary.total(outcome))}
        self._log.info(
            "batch.settled", events=summary.events, bytes=summary.size, seconds=round(summary.duration, 4), **totals
        )

    def dead_lettered(self, record: Record, failure: Failure, event_type: str, events: int = 1) -> None:
        """Events of a kind are in the dead-letter topic, this among them. At debug each has a line of its own.

        Else one of a kind is shown once in a while, with the number of those that were left out since the last.
        """
        error = failure.error
        self._metrics.dead_lettered(error.stage, error.code, events)
        fields = {
            "stage": error.stage,
            "error": error.code,
            "event_type": event_type,
            "partition": record.partition,
            "offset": record.offset,
            "attempts": failure.attempts,
            "message_id": failure.message_id,
        }
        if is_debug():
            self._log.warning("event.dead_lettered", **fields, message=error.message)
        else:
            kind = (error.stage, error.code)
            left_out = self._repeats.suppressed(self._clock(), "event.dead_lettered", *kind, of=events)
            if left_out is not None:
                more = {"suppressed": left_out} if left_out else {}
                self._log.warning("event.dead_lettered", **fields, message=without_values(error.message), **more)

    # Elasticsearch

    def bulk_waited(self, seconds: float) -> None:
        """A bulk request has a place."""
        self._metrics.bulk_waited(seconds)

    def bulk_request(self, outcome: str, seconds: float, size: int) -> None:
        """A bulk request ended."""
        self._metrics.bulk(outcome, seconds, size)
        if outcome in _ANSWERED and (ELASTICSEARCH, "") not in self._problems:
            self._set_up(ELASTICSEARCH, up=True)

    def retried(self, reason: str, count: int) -> None:
        """Documents are sent again."""
        self._metrics.retried(reason, count)

    def outage(self, reason: str) -> None:
        """Elasticsearch is away or pushes back."""
        self._set_up(ELASTICSEARCH, up=False)
        self._wait(ELASTICSEARCH, reason)

    def halted(self, reason: str) -> None:
        """Elasticsearch needs people."""
        self._set_up(ELASTICSEARCH, up=False)
        self._block(ELASTICSEARCH, reason)

    def recovered(self) -> None:
        """Elasticsearch takes requests again."""
        self._set_up(ELASTICSEARCH, up=True)
        self.solved(ELASTICSEARCH)

    def waits_alone(self, documents: int, reason: str) -> None:
        """Documents are refused without a verdict while the index takes others."""
        self._metrics.waits_alone(documents)
        if not documents:
            self.solved(ALONE)
        elif reason:
            self._wait(ALONE, f"{documents} sent alone, refused while others pass: {reason}")

    def concurrency(self, in_flight: int, limit: int) -> None:
        """Bulk requests under way, and how many may be."""
        self._metrics.in_flight(in_flight, limit)

    # What failed

    def breaker_opened(self, share: float, example: str) -> None:
        """Too many valid events fail: intake is stopped until what is held passes."""
        self._metrics.breaker(is_open=True)
        self._block(
            BREAKER,
            f"{share:.0%} of the latest valid events cannot be indexed, such as: {without_values(example)}; "
            "intake is stopped, except for a batch in each CONSUMER_BREAKER_RETRY_INTERVAL. It goes on when what is "
            "held, or that batch, passes: correct the mapping, the strategy or the producer. "
            "CONSUMER_BREAKER_THRESHOLD=1 dead-letters what fails without a pause",
        )

    def breaker_closed(self) -> None:
        """What failed has passed."""
        self._metrics.breaker(is_open=False)
        self.solved(BREAKER)

    def dead_letter_topic(self, problem: str | None) -> None:
        """The dead-letter topic takes records, or does not and why."""
        if problem is None:
            self.solved(DEAD_LETTERS)
        else:
            self._block(DEAD_LETTERS, problem)

    def seen_store(self, up: bool, reason: str) -> None:
        """Redis answered, or did not: memory and the event versions answer then, and nothing waits."""
        if not self._set_up(REDIS, up=up):
            return
        if not up:
            self._problems.add((REDIS, ""))
            self._health.warned(REDIS, reason)
            self._log.warning("redis.failed", reason=reason)
        elif (REDIS, "") in self._problems:
            self._problems.discard((REDIS, ""))
            self._health.settled(REDIS)
            self._log.info("redis.recovered")

    # Kafka

    def dependency(self, name: str, *, up: bool, reason: str = "") -> None:
        """A server that the indexer cannot do without (kafka, elasticsearch) answers, or does not and why."""
        self._set_up(name, up=up)
        if up:
            self.solved(name)
        else:
            self._wait(name, reason)

    def kafka(self, problem: str | None) -> None:
        """Kafka answers, or does not and why."""
        self.dependency(KAFKA, up=problem is None, reason=problem or "")

    def topic(self, problem: str | None) -> None:
        """The transactions topic exists, or does not and what to do."""
        self._block_while(TOPIC, problem)

    def membership(self, problem: str | None) -> None:
        """This process may be a member of its group, or may not and what to do."""
        self._block_while(MEMBERSHIP, problem)

    def recreated(self, topic: str) -> None:
        """The topic was deleted and created again."""
        log_recreated(self._log, topic, "indexer")

    def lost(self, loss: Loss) -> None:
        """Events were gone before they were read."""
        log_loss(self._log, loss, "indexer")
        number = loss.partition.partition
        self._metrics.lost(number, loss.reason, "indexer", loss.events)
        self._lost[number] = self._lost.get(number, 0) + loss.events
        self._health.partition(number, lost=self._lost[number])
        self._health.warned(
            EVENTS_LOST,
            f"{loss.events} events from offset {loss.first} on ({loss.reason})",
            f"partition {number}",
            LOSS_ADVICE[loss.reason],
            LOSS_SHOWN,
        )

    def held(self, partition: Partition, events: int, seconds: float) -> None:
        """Events wait behind an open transaction of a producer."""
        number = partition.partition
        self._metrics.held(number, events, seconds)
        self._health.partition(number, behind_transaction=events)
        if not events or seconds < HELD_SHOWN:
            self.solved(OPEN_TRANSACTION, f"partition {number}")
            return
        since = format_timestamp(int(time.time() - seconds) * 1_000_000)
        self.problem(
            OPEN_TRANSACTION,
            f"{events} events wait behind a transaction that a producer left open since {since}",
            subject=f"partition {number}",
            advice=HELD_ADVICE,
        )

    def corrupt(self, partitions: Mapping[Partition, str]) -> None:
        """The partitions that cannot go on since their next batch is damaged, and why; called after each poll."""
        self._metrics.corrupt(len(partitions))
        if partitions:
            self._block(RECORDS, "; ".join(partitions.values()))
        else:
            self.solved(RECORDS)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """A rebalance ended."""
        numbers = sorted(partition.partition for partition in partitions)
        self._metrics.assigned(numbers)
        self._metrics.rebalancing(going_on=False)
        if self._revoked_at is not None:
            self._metrics.rebalanced(self._clock() - self._revoked_at)
            self._revoked_at = None
        self._health.assigned(len(numbers))
        for number in numbers:
            self._health.partition(number, lost=self._lost.get(number))
        self._log.info("partitions.assigned", partitions=numbers)

    def revoked(self) -> None:
        """A rebalance began."""
        self._metrics.revoked()
        self._metrics.rebalancing(going_on=True)
        self._revoked_at = self._clock()
        self._health.revoked()
        for subject in [subject for code, subject in self._problems if code == OPEN_TRANSACTION]:
            self.solved(OPEN_TRANSACTION, subject)
        self._log.info("partitions.revoked")

    def committed(self, partition: Partition, offset: int) -> None:
        """The broker has this offset."""
        self._metrics.commit(done=True)
        self._metrics.committed(partition.partition, offset)

    def commit_failed(self, reason: str) -> None:
        """Offsets could not be committed, and why."""
        self._metrics.commit(done=False)
        self._tell(logging.WARNING, "offsets.commit_failed", reason=reason)

    def index(self, problem: str | None) -> None:
        """The index is as expected, or nothing is written until it has been corrected."""
        self._metrics.index_as_expected(as_expected=problem is None)
        if problem is None:
            self.solved(INDEX)
        else:
            self.problem(INDEX, problem, severity=Severity.BLOCKS)

    def read_again(self, events: int) -> None:
        """Another index, or an earlier state of it, took the place of the one that was written to."""
        self._metrics.read_again(events)
        self._log.warning("events.read_again", events=events)

    def lag(self, partition: Partition, events: int) -> None:
        """Events of a partition that are not settled."""
        self._metrics.lag(partition.partition, events)
        self._health.partition(partition.partition, lag=events)

    def lag_seconds(self, partition: Partition, seconds: float | None) -> None:
        """The oldest of them was published so long ago."""
        self._metrics.lag_seconds(partition.partition, seconds)
        self._health.partition(partition.partition, lag_seconds=seconds)

    def pending(self, events: int) -> None:
        """Events of all partitions that can be settled and are not yet."""
        self._health.pending(events)

    def ticked(self) -> None:
        """The intake loop went round."""
        self._health.polled()

    # Whatever else needs attention

    def problem(
        self, code: str, reason: str, *, severity: Severity = Severity.WARNS, subject: str = "", advice: str = ""
    ) -> None:
        """A fact that holds until it is solved, and a line once in a while."""
        if severity is Severity.BLOCKS:
            self._health.blocked(code, reason, subject, advice)
        elif severity is Severity.WAITS:
            self._health.waiting(code, reason, self._longest_wait, subject)
        else:
            self._health.warned(code, reason, subject, advice)
        self._problems.add((code, subject))
        level = logging.ERROR if severity is Severity.BLOCKS else logging.WARNING
        fields = {name: text for name, text in (("subject", subject), ("advice", advice)) if text}
        self._tell(level, f"{code}.{_EVENT[severity]}", subject, reason=reason, **fields)

    def solved(self, code: str, subject: str = "") -> None:
        """The fact is gone: said once."""
        if (code, subject) in self._problems:
            self._problems.discard((code, subject))
            self._health.settled(code, subject)
            self._log.info(f"{code}.recovered", **({"subject": subject} if subject else {}))

    # States

    def _set_up(self, name: str, *, up: bool) -> bool:
        """Whether this is a change."""
        if self._up.get(name) is up:
            return False
        self._up[name] = up
        self._metrics.dependency(name, up=up)
        return True

    def _wait(self, code: str, reason: str) -> None:
        self.problem(code, reason, severity=Severity.WAITS)

    def _block(self, code: str, reason: str) -> None:
        self.problem(code, reason, severity=Severity.BLOCKS)

    def _block_while(self, code: str, problem: str | None) -> None:
        if problem is None:
            self.solved(code)
        else:
            self._block(code, problem)

    def _tell(self, level: int, event: str, *kind: str, **fields: Any) -> None:
        """A line that repeats while a problem lasts: shown once per interval."""
        suppressed = self._repeats.suppressed(self._clock(), event, *kind)
        if suppressed is not None:
            self._log.log(level, event, **fields, **({"suppressed": suppressed} if suppressed else {}))


def log_loss(log: Any, loss: Loss, consumer: str) -> None:
    """The line of events that were gone before they were read."""
    log.error(
        "events.lost",
        consumer=consumer,
        topic=loss.partition.topic,
        partition=loss.partition.partition,
        reason=loss.reason,
        first_offset=loss.first,
        events=loss.events,
        advice=LOSS_ADVICE[loss.reason],
    )


def log_recreated(log: Any, topic: str, consumer: str) -> None:
    """The line of a topic that is not the one that was read before."""
    log.error(
        "topic.recreated",
        consumer=consumer,
        topic=topic,
        advice="the topic was deleted and created again: it is read from its first record, whatever was committed",
    )


class AuditReporter:
    """What the audit reports: metrics, and facts that only warn, as indexing goes on without it.

    Its connection to Kafka is not shown: the indexer shows its own.
    """

    def __init__(self, metrics: Metrics, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._log = structlog.get_logger("activity_indexer.audit")

    def kafka(self, problem: str | None) -> None:
        """The audit's own wait for Kafka is reported where it calls Kafka."""

    def topic(self, problem: str | None) -> None:
        """The indexer reports a missing topic."""

    def membership(self, problem: str | None) -> None:
        """The indexer has the same name, and reports that it is in use."""

    def recreated(self, topic: str) -> None:
        """The topic was deleted and created again."""
        log_recreated(self._log, topic, "audit")

    def lost(self, loss: Loss) -> None:
        """Events were gone before the audit read them."""
        log_loss(self._log, loss, "audit")
        self._metrics.lost(loss.partition.partition, loss.reason, "audit", loss.events)
        reason = f"{loss.events} events from offset {loss.first} on were gone before they were read ({loss.reason})"
        self._health.warned(f"{AUDIT}_events_lost", reason, f"partition {loss.partition.partition}", seconds=LOSS_SHOWN)

    def events(self, outcome: AuditOutcome, count: int) -> None:
        """Events have this outcome."""
        self._metrics.audited(outcome, count)

    def ties(self, count: int) -> None:
        """Events have the timestamp and rank of another one."""
        self._metrics.audit_ties(count)

    def batch(self, events: int, seconds: float) -> None:  # noqa: ARG002 - the events are counted by outcome
        """What one poll gave is written."""
        self._metrics.audit_batch(seconds)

    def lag(self, partitions: Mapping[Partition, Backlog]) -> None:
        """What of each partition of the audit's is not written."""
        self._metrics.audit_assigned([partition.partition for partition in partitions])
        for partition, (events, seconds) in partitions.items():
            self._metrics.audit_lag(partition.partition, events, seconds)

    def dependency(self, name: str, *, up: bool, reason: str = "") -> None:
        """A server takes calls, or does not and why."""
        if name == KAFKA:
            return
        self._metrics.dependency("postgres", up=up)
        if up:
            self._health.settled(AUDIT)
        else:
            self._health.warned(AUDIT, f"it is paused: {reason}")

    def crashed(self, error: Exception) -> None:
        """A defect ended it; it begins again."""
        self._health.warned(AUDIT, f"it ended by a defect and begins again, see the log: {type(error).__name__}")
