"""Turns what the indexer and its audit tell into logs, metrics and health."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog

from activity_indexer.dead_letter import Failure
from activity_indexer.event import Event
from activity_indexer.observer import BatchSummary, Written
from activity_indexer.ports import Backlog, Partition, Record
from activity_indexer.telemetry.declarations import OUTCOMES
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.logging import Repeats, is_debug, log_event
from activity_indexer.telemetry.masking import without_values
from activity_indexer.telemetry.metrics import Metrics

KAFKA: Final = "kafka"
ELASTICSEARCH: Final = "elasticsearch"
REDIS: Final = "redis"
BREAKER: Final = "breaker"
DEAD_LETTERS: Final = "dead_letters"
ALONE: Final = "documents"
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
        self._problems: set[str] = set()
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
        if summary.example is not None:
            self.follow(summary.example)
        for (outcome, event_type), count in summary.outcomes.items():
            metrics.settled(outcome, event_type, count)
        metrics.dedup("memory", summary.looked_up, summary.known_in_memory)
        if self._up.get(REDIS):
            metrics.dedup(REDIS, summary.looked_up - summary.known_in_memory, summary.known_in_store)
        totals = {outcome: count for outcome in OUTCOMES if (count := summary.total(outcome))}
        self._log.info(
            "batch.settled", events=summary.events, bytes=summary.size, seconds=round(summary.duration, 4), **totals
        )

    def dead_lettered(self, record: Record, failure: Failure, event_type: str) -> None:
        """An event is in the dead-letter topic. At debug each is told, else one of a kind once in a while."""
        error = failure.error
        self._metrics.dead_lettered(error.stage, error.code)
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
            self._tell(logging.WARNING, "event.dead_lettered", *kind, **fields, message=without_values(error.message))

    # Elasticsearch

    def bulk_waited(self, seconds: float) -> None:
        """A bulk request has a place."""
        self._metrics.bulk_waited(seconds)

    def bulk_request(self, outcome: str, seconds: float, size: int) -> None:
        """A bulk request ended."""
        self._metrics.bulk(outcome, seconds, size)
        if outcome in _ANSWERED and ELASTICSEARCH not in self._problems:
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
        self._pass(ELASTICSEARCH)

    def waits_alone(self, documents: int, reason: str) -> None:
        """Documents are refused without a verdict while the index takes others."""
        self._metrics.waits_alone(documents)
        if not documents:
            self._pass(ALONE)
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
        self._pass(BREAKER)

    def dead_letter_topic(self, problem: str | None) -> None:
        """The dead-letter topic takes records, or does not and why."""
        if problem is None:
            self._pass(DEAD_LETTERS)
        else:
            self._block(DEAD_LETTERS, problem)

    def seen_store(self, up: bool, reason: str) -> None:
        """Redis answered, or did not: memory and the event versions answer then, and nothing waits."""
        if not self._set_up(REDIS, up=up):
            return
        if not up:
            self._problems.add(REDIS)
            self._log.warning("redis.failed", reason=reason)
        elif REDIS in self._problems:
            self._problems.discard(REDIS)
            self._log.info("redis.recovered")

    # Kafka

    def dependency(self, name: str, *, up: bool, reason: str = "") -> None:
        """A server that the indexer cannot do without (kafka, elasticsearch) answers, or does not and why."""
        self._set_up(name, up=up)
        if up:
            self._pass(name)
        else:
            self._wait(name, reason)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """A rebalance ended."""
        numbers = sorted(partition.partition for partition in partitions)
        self._metrics.assigned(numbers)
        self._metrics.rebalancing(going_on=False)
        if self._revoked_at is not None:
            self._metrics.rebalanced(self._clock() - self._revoked_at)
            self._revoked_at = None
        self._health.assigned(len(numbers))
        self._log.info("partitions.assigned", partitions=numbers)

    def revoked(self) -> None:
        """A rebalance began."""
        self._metrics.revoked()
        self._metrics.rebalancing(going_on=True)
        self._revoked_at = self._clock()
        self._health.revoked()
        self._log.info("partitions.revoked")

    def committed(self, partition: Partition, offset: int) -> None:
        """The broker has this offset."""
        self._metrics.commit(done=True)
        self._metrics.committed(partition.partition, offset)

    def commit_failed(self) -> None:
        """Offsets could not be committed."""
        self._metrics.commit(done=False)
        self._tell(logging.WARNING, "offsets.commit_failed")

    def lag(self, partition: Partition, events: int) -> None:
        """Events of a partition that are not settled."""
        self._metrics.lag(partition.partition, events)

    def lag_seconds(self, partition: Partition, seconds: float) -> None:
        """The oldest of them was published so long ago."""
        self._metrics.lag_seconds(partition.partition, seconds)

    def pending(self, events: int) -> None:
        """Events of all partitions that can be settled and are not yet."""
        self._health.pending(events)

    def ticked(self) -> None:
        """The intake loop went round."""
        self._health.polled()

    # States

    def _set_up(self, name: str, *, up: bool) -> bool:
        """Whether this is a change."""
        if self._up.get(name) is up:
            return False
        self._up[name] = up
        self._metrics.dependency(name, up=up)
        return True

    def _wait(self, code: str, reason: str) -> None:
        self._health.waiting(code, reason, self._longest_wait)
        self._problems.add(code)
        self._tell(logging.WARNING, f"{code}.failed", reason=reason)

    def _block(self, code: str, reason: str) -> None:
        self._health.blocked(code, reason)
        self._problems.add(code)
        self._tell(logging.ERROR, f"{code}.blocked", reason=reason)

    def _pass(self, code: str) -> None:
        if code in self._problems:
            self._problems.discard(code)
            self._health.unblocked(code)
            self._health.resumed(code)
            self._log.info(f"{code}.recovered")

    def _tell(self, level: int, event: str, *kind: str, **fields: Any) -> None:
        """A line that repeats while a problem lasts: shown once per interval."""
        suppressed = self._repeats.suppressed(self._clock(), event, *kind)
        if suppressed is not None:
            self._log.log(level, event, **fields, **({"suppressed": suppressed} if suppressed else {}))


class AuditReporter:
    """What the audit tells. Its connection to Kafka is not shown: the indexer shows its own."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def events(self, outcome: str, count: int) -> None:
        """Events were written, invalid, rejected or dropped."""
        self._metrics.audited(outcome, count)

    def batch(self, events: int, seconds: float) -> None:  # noqa: ARG002 - the events are counted by outcome
        """What one poll gave is written."""
        self._metrics.audit_batch(seconds)

    def lag(self, partitions: Mapping[Partition, Backlog]) -> None:
        """What of each partition of the audit's is not written."""
        self._metrics.audit_assigned([partition.partition for partition in partitions])
        for partition, (events, seconds) in partitions.items():
            self._metrics.audit_lag(partition.partition, events, seconds)

    def dependency(self, name: str, *, up: bool) -> None:
        """A server takes calls, or does not."""
        if name != KAFKA:
            self._metrics.dependency("postgres", up=up)
