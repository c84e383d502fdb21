"""Turns what the indexer tells into metrics, health and log lines; states are logged when they change only."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from activity_indexer.dead_letter import Failure
from activity_indexer.event import Event
from activity_indexer.observer import BatchSummary
from activity_indexer.ports import Partition, Record
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.logging import is_debug, log_event
from activity_indexer.telemetry.metrics import Metrics


class Reporting:
    """observer.Observer over metrics, health and logs. `longest_wait` is the longest pause between two tries (seconds)."""

    def __init__(self, metrics: Metrics, health: Health, longest_wait: float) -> None:
        self._metrics = metrics
        self._health = health
        self._longest_wait = longest_wait
        self._log = structlog.get_logger("activity_indexer")
        self._states: dict[str, str | None] = {}

    @property
    def debug(self) -> bool:
        """Whether each event is logged."""
        return is_debug()

    def _changed(self, what: str, state: str | None) -> bool:
        before = self._states.get(what)
        self._states[what] = state
        return before != state

    # Events and batches

    def ticked(self) -> None:
        """The intake loop went round."""
        self._health.polled()

    def polled(self, records: int, size: int) -> None:
        """Records came from the topic."""
        self._metrics.consumed(records, size)

    def buffered(self, events: int) -> None:
        """Events wait for their turn."""
        self._metrics.buffered(events)

    def event_decoded(self, event: Event) -> None:
        """Log the event, as the guide has it."""
        log_event(event.event_type, event.transaction.id, event.message_id)

    def stage_done(self, stage: str, seconds: float) -> None:
        """A batch went through a stage."""
        self._metrics.stage(stage, seconds)

    def batch_done(self, summary: BatchSummary) -> None:
        """A batch is settled."""
        for (outcome, event_type), count in summary.outcomes.items():
            if outcome != "dead_lettered":  # counted when it was told of
                self._metrics.settled(outcome, event_type, count)
        self._metrics.batch(summary.events, summary.size, summary.duration)
        self._metrics.event_ages(summary.ages)
        self._metrics.dedup("memory", summary.looked_up, summary.known_in_memory)
        self._metrics.dedup("redis", summary.looked_up - summary.known_in_memory, summary.known_in_store)
        self._health.progressed()
        self._log.info(
            "batch.indexed",
            events=summary.events,
            **{name: count for name in _NAMES if (count := summary.total(name))},
            milliseconds=round(summary.duration * 1000, 1),
        )

    def dead_lettered(self, record: Record, failure: Failure, event_type: str) -> None:
        """An event is in the dead-letter topic; its text stays there, it may hold what nobody should read in a log."""
        error = failure.error
        self._metrics.dead_lettered(error.stage, error.code, event_type)
        self._log.warning(
            "event.dead_lettered",
            stage=error.stage,
            error=error.code,
            partition=record.partition,
            offset=record.offset,
            message_id=failure.message_id,
            attempts=failure.attempts,
        )

    # Elasticsearch

    def bulk_request(self, outcome: str, seconds: float, size: int) -> None:
        """A bulk request ended."""
        self._metrics.bulk(outcome, seconds, size)

    def retried(self, reason: str, count: int) -> None:
        """Documents are sent again."""
        self._metrics.retried(reason, count)

    def concurrency(self, in_flight: int, limit: int) -> None:
        """Requests under way, and how many may be."""
        self._metrics.in_flight(in_flight, limit)

    def outage(self, reason: str) -> None:
        """Elasticsearch is away or pushes back."""
        self._metrics.dependency("elasticsearch", up=False)
        self._health.waiting("elasticsearch is away or pushes back", self._longest_wait)
        if self._changed("elasticsearch", "away"):
            self._log.warning("elasticsearch.lost", reason=reason)

    def halted(self, reason: str) -> None:
        """Elasticsearch needs people."""
        self._metrics.dependency("elasticsearch", up=False)
        self._health.blocked("elasticsearch", reason)
        if self._changed("elasticsearch", reason):
            self._log.error("elasticsearch.refused", reason=reason)

    def recovered(self) -> None:
        """Elasticsearch takes requests again."""
        self._metrics.dependency("elasticsearch", up=True)
        self._health.resumed("elasticsearch is away or pushes back")
        self._health.unblocked("elasticsearch")
        if self._changed("elasticsearch", None):
            self._log.info("elasticsearch.recovered")

    # Dead letters, the breaker, Redis

    def breaker_opened(self, share: float, example: str) -> None:
        """Intake is stopped."""
        reason = (
            f"{share:.0%} of the latest events cannot be indexed (for example {example}): intake is stopped. "
            "Mend the mapping or the producer, or restart with CONSUMER_BREAKER_THRESHOLD=1 to dead-letter them all"
        )
        self._metrics.breaker(is_open=True)
        self._health.blocked("breaker", reason)
        if self._changed("breaker", "open"):
            self._log.error("breaker.opened", share=round(share, 3), reason=reason)

    def breaker_closed(self) -> None:
        """Intake goes on."""
        self._metrics.breaker(is_open=False)
        self._health.unblocked("breaker")
        if self._changed("breaker", None):
            self._log.info("breaker.closed")

    def seen_store(self, up: bool, reason: str) -> None:
        """Redis answered, or did not."""
        self._metrics.dependency("redis", up=up)
        if self._changed("redis", None if up else "away"):
            if up:
                self._log.info("redis.recovered")
            else:
                self._log.warning("redis.lost", reason=reason, effect="memory and versions answer for duplicates")

    def dead_letter_topic(self, problem: str | None) -> None:
        """The dead-letter topic takes records, or does not."""
        if problem is None:
            self._health.unblocked("dead_letter_topic")
        else:
            self._health.blocked("dead_letter_topic", problem)
        if self._changed("dead_letter_topic", problem):
            if problem:
                self._log.error("dead_letters.refused", reason=problem)
            else:
                self._log.info("dead_letters.accepted")

    # Kafka

    def kafka(self, problem: str | None) -> None:
        """The broker answers, or does not and why."""
        self._metrics.dependency("kafka", up=problem is None)
        if problem is None:
            self._health.resumed("kafka is away")
        else:
            self._health.waiting("kafka is away", self._longest_wait)
        if self._changed("kafka", problem and "away"):
            if problem:
                self._log.warning("kafka.lost", reason=problem)
            else:
                self._log.info("kafka.recovered")

    def assigned(self, partitions: Collection[Partition]) -> None:
        """A rebalance ended."""
        numbers = sorted(partition.partition for partition in partitions)
        self._metrics.assigned(numbers)
        self._health.assigned(len(numbers))
        self._log.info("partitions.assigned", partitions=numbers)

    def revoked(self) -> None:
        """A rebalance began."""
        self._health.revoked()
        self._log.info("partitions.revoked")

    def committed(self, partition: Partition, offset: int) -> None:
        """The broker has this offset."""
        self._metrics.commit(done=True)
        self._metrics.committed(partition.partition, offset)

    def commit_failed(self) -> None:
        """Offsets could not be committed."""
        self._metrics.commit(done=False)

    def lag(self, partition: Partition, events: int) -> None:
        """Events of a partition that are not settled."""
        self._metrics.lag(partition.partition, events)

    def pending(self, events: int) -> None:
        """Events of all partitions that can be settled and are not yet."""
        self._health.pending(events)

    # The audit

    def audit(self, outcome: str, count: int) -> None:
        """Events of the audit were written, rejected or invalid."""
        self._metrics.audited(outcome, count)


_NAMES = ("indexed", "updated", "deleted", "duplicate", "late", "dead_lettered")
