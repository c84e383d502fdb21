"""Metrics of the audit."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from activity_indexer.ports import AuditOutcome
from activity_indexer.reports import (
    AuditBatchWritten,
    AuditLagMeasured,
    AuditTiesFound,
    Dependency,
    DependencyChanged,
    EventsLost,
    on,
)
from activity_indexer.telemetry.metrics.instruments import DURATIONS, PARTITION, Family, Instruments, Label

AUDIT_OUTCOMES: Final = tuple(outcome.value for outcome in AuditOutcome)


class AuditMetrics:
    """What the audit writes; its connection to Kafka is not shown, as the indexer shows its own."""

    def __init__(self, make: Instruments, lost: Family[Counter], up: Family[Gauge]) -> None:
        self._lost = lost
        self._up = up
        self._events = make.counters(
            "audit_events_total",
            "events",
            "Events of the audit: written, invalid (not an event), refused by PostgreSQL and put aside (rejected), "
            "or refused even there (dropped).",
            Label("outcome", AUDIT_OUTCOMES),
        )
        self._ties = make.counter(
            "audit_ties_total",
            "events",
            "New events of the audit with the timestamp and rank of another event of their transaction: the later "
            "position wins, and the history has both.",
        )
        self._duration = make.histogram(
            "audit_batch_duration_seconds", "seconds", DURATIONS, "Time to write what one poll of the audit gave."
        )
        self._lag = make.gauges(
            "audit_lag_events", "events", "Events in a partition that the audit has not written yet.", PARTITION
        )
        self._lag_seconds = make.gauges(
            "audit_lag_seconds",
            "seconds",
            "Time since the publishing of the oldest event in a partition that the audit has not written yet; 0: none.",
            PARTITION,
        )

    @on(AuditBatchWritten)
    def written(self, written: AuditBatchWritten) -> None:
        """What one poll gave is written."""
        for outcome, count in written.outcomes.items():
            self._events.of(outcome).inc(count)
        self._duration.observe(written.seconds)

    @on(AuditTiesFound)
    def tied(self, tied: AuditTiesFound) -> None:
        """New events have the timestamp and rank of another one."""
        self._ties.inc(tied.events)

    @on(AuditLagMeasured)
    def lag_measured(self, lag: AuditLagMeasured) -> None:
        """What of each partition is not written; the values of others are forgotten."""
        numbers = {str(each.partition) for each in lag.partitions}
        self._lag.keep(numbers)
        self._lag_seconds.keep(numbers)
        for partition, (events, seconds) in lag.partitions.items():
            self._lag.of(str(partition.partition)).set(events)
            self._lag_seconds.of(str(partition.partition)).set(seconds)

    @on(DependencyChanged)
    def dependency_changed(self, changed: DependencyChanged) -> None:
        """PostgreSQL answers, or does not."""
        if changed.dependency is Dependency.POSTGRES:
            self._up.of(changed.dependency).set(changed.problem is None)

    @on(EventsLost)
    def lost(self, lost: EventsLost) -> None:
        """Events were gone before the audit read them."""
        loss = lost.loss
        self._lost.of(str(loss.partition.partition), loss.reason, "audit").inc(loss.events)
