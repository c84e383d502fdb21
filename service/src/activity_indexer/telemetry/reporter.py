"""Turns what the indexer tells into logs, metrics and health."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from activity_indexer.event import Event
from activity_indexer.observer import BatchSummary
from activity_indexer.ports import Partition
from activity_indexer.telemetry.declarations import INVALID, OUTCOMES
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.logging import Repeats, is_debug, log_event
from activity_indexer.telemetry.metrics import Metrics

ELASTICSEARCH: Final = "elasticsearch"
BREAKER: Final = "breaker"
DEAD_LETTERS: Final = "dead_letters"


class Reporter:
    """The observer of a running indexer.

    `longest_wait` is the longest time between two tries of one thing (seconds): so long no news of a wait is no stall.
    Messages of failed events quote what they hold, so they are told at debug only.
    """

    def __init__(
        self, health: Health, metrics: Metrics, longest_wait: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._longest_wait = longest_wait
        self._clock = clock
        self._log = structlog.get_logger(__name__)
        self._repeats = Repeats()
        self._up: dict[str, bool] = {}
        self._problems: set[str] = set()
        self._buffered = 0
        self._lags: dict[Partition, int] = {}

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
        if events != self._buffered:
            self._buffered = events
            self._tell_pending()

    def event_decoded(self, event: Event) -> None:
        """The line of one event."""
        log_event(event.event_type, event.transaction.id, event.message_id)

    def stage_done(self, stage: str, seconds: float) -> None:
        """A batch went through a stage."""
        self._metrics.stage(stage, seconds)

    def batch_done(self, summary: BatchSummary) -> None:
        """A batch is settled: one line, and all its numbers."""
        self._health.progressed()
        metrics = self._metrics
        metrics.batch(summary.events, summary.size, summary.duration)
        metrics.event_ages(summary.ages)
        for (outcome, event_type), count in summary.outcomes.items():
            metrics.settled(outcome, event_type, count)
        valid = summary.events - sum(count for (_, kind), count in summary.outcomes.items() if kind == INVALID)
        metrics.dedup("memory", valid, summary.known_in_memory)
        if self._up.get("redis"):
            metrics.dedup("redis", valid - summary.known_in_memory, summary.known_in_store)
        totals = {outcome: count for outcome in OUTCOMES if (count := summary.total(outcome))}
        self._log.info(
            "batch.settled", events=summary.events, bytes=summary.size, seconds=round(summary.duration, 4), **totals
        )

    def dead_lettered(self, stage: str, error: str, message: str) -> None:
        """An event is in the dead-letter topic."""
        self._metrics.dead_lettered(stage, error)
        self._log.debug("event.dead_lettered", stage=stage, error=error, message=message)
        if not is_debug():
            self._tell("warning", "event.dead_lettered", stage, error, stage=stage, error=error)

    # Elasticsearch

    def bulk_request(self, outcome: str, latency: float) -> None:
        """A bulk request was answered with this HTTP status."""
        self._metrics.bulk(outcome, latency)

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
        self._health.blocked(ELASTICSEARCH, reason)
        self._problems.add(ELASTICSEARCH)
        self._tell("error", "elasticsearch.refused", reason=reason)

    def recovered(self) -> None:
        """Elasticsearch takes requests again."""
        self._set_up(ELASTICSEARCH, up=True)
        self._health.unblocked(ELASTICSEARCH)
        self._pass(ELASTICSEARCH)

    def concurrency(self, in_flight: int, limit: int) -> None:
        """Bulk requests under way, and how many may be."""
        self._metrics.in_flight(in_flight, limit)

    def breaker_opened(self, share: float, example: str) -> None:
        """Too many events fail: intake is stopped."""
        self._metrics.breaker(is_open=True)
        kind = example.partition(":")[0]
        self._log.debug("breaker.example_shown", example=example)
        self._wait(BREAKER, f"{share:.0%} of the events fail, such as: {kind}", level="error")

    def breaker_closed(self) -> None:
        """What failed has passed."""
        self._metrics.breaker(is_open=False)
        self._pass(BREAKER)

    # Other servers

    def dependency(self, name: str, *, up: bool, reason: str = "") -> None:
        """kafka, elasticsearch, redis or postgres answers, or does not; a change is told in the log."""
        if self._set_up(name, up=up):
            tell = self._log.info if up else self._log.warning
            tell("dependency.came_up" if up else "dependency.went_down", dependency=name, reason=reason)

    def seen_store(self, up: bool, reason: str) -> None:
        """Redis answered, or did not: memory alone answers then."""
        self.dependency("redis", up=up, reason=reason)

    def dead_letter_topic(self, problem: str | None) -> None:
        """The dead-letter topic takes records, or does not and why."""
        if problem is None:
            self._pass(DEAD_LETTERS)
        else:
            self._wait(DEAD_LETTERS, problem)

    # The group

    def assigned(self, partitions: int) -> None:
        """A rebalance ended."""
        self._lags.clear()
        self._tell_pending()
        self._metrics.assigned(partitions)
        self._health.assigned(partitions)
        self._log.info("partitions.assigned", partitions=partitions)

    def revoked(self) -> None:
        """A rebalance began."""
        self._metrics.revoked()
        self._health.revoked()
        self._log.info("partitions.revoked")

    def committed(self, partition: Partition, offset: int) -> None:
        """The broker has this offset."""
        self._metrics.committed(partition.partition, offset)
        self._log.debug("offset.committed", partition=partition.partition, offset=offset)

    def lag(self, partition: Partition, events: int) -> None:
        """Events of a partition that are not settled."""
        self._metrics.lag(partition.partition, events)
        self._lags[partition] = events
        self._tell_pending()

    def stalled(self, problem: str | None) -> None:
        """Nothing moves though something should, or it moves again."""
        self._health.stalled(problem)
        if problem:
            self._tell("error", "intake.stalled", problem=problem)

    def ticked(self) -> None:
        """The intake loop went round."""
        self._health.polled()

    def _tell_pending(self) -> None:
        self._health.pending(self._buffered + sum(self._lags.values()))

    def _set_up(self, name: str, *, up: bool) -> bool:
        """Whether this is a change."""
        if self._up.get(name) is up:
            return False
        self._up[name] = up
        self._metrics.dependency(name, up=up)
        return True

    def _wait(self, code: str, reason: str, level: str = "warning") -> None:
        self._health.waiting(code, reason, self._longest_wait)
        self._problems.add(code)
        self._tell(level, f"{code}.failed", reason=reason)

    def _pass(self, code: str) -> None:
        self._health.resumed(code)
        if code in self._problems:
            self._problems.discard(code)
            self._log.info(f"{code}.recovered")

    def _tell(self, level: str, event: str, *kind: str, **fields: str) -> None:
        """A line that repeats while a problem lasts: shown once per interval."""
        suppressed = self._repeats.suppressed(self._clock(), event, *kind)
        if suppressed is None:
            return
        if suppressed:
            self._log.log(_LEVELS[level], event, suppressed=suppressed, **fields)
        else:
            self._log.log(_LEVELS[level], event, **fields)


_LEVELS: Final = {"warning": 30, "error": 40}
