"""Metrics of the member of the consumer group and of its partitions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from prometheus_client import Counter

from activity_indexer.ports import Partition
from activity_indexer.positions import LOSS_REASONS
from activity_indexer.reports import (
    CommitFailed,
    EventsLost,
    EventsReadAgain,
    LagMeasured,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsCorrupt,
    PartitionsRevoked,
    on,
)
from activity_indexer.telemetry.metrics.instruments import DURATIONS, PARTITION, Family, Instruments, Label

CONSUMERS: Final = ("indexer", "audit")


def lost_events(make: Instruments) -> Family[Counter]:
    """Counted by the indexer and by the audit."""
    return make.counters(
        "events_lost_total",
        "events",
        "Offsets that were gone before they were read: deleted by retention, cut off by a leader that did not have "
        "them (truncation), or deleted with their topic (recreated).",
        Label("partition", "number of a partition"),
        Label("reason", LOSS_REASONS),
        Label("consumer", CONSUMERS),
    )


class PartitionMetrics:
    """Lag, commits and rebalances; the values of partitions that are not assigned are forgotten."""

    def __init__(self, make: Instruments, lost: Family[Counter], monotonic: Callable[[], float]) -> None:
        self._lost = lost
        self._monotonic = monotonic
        self._revoked_at: float | None = None
        self._corrupt = make.gauge(
            "corrupt_partitions",
            "partitions",
            "Assigned partitions that cannot go on, since their next batch is damaged.",
        )
        self._lag = make.gauges(
            "consumer_lag_events",
            "events",
            "Events in a partition that are not settled yet, up to its high watermark.",
            PARTITION,
        )
        self._held = make.gauges(
            "held_events",
            "events",
            "Events in a partition that cannot be read yet, since they are behind the start of an open transaction of "
            "a producer; consumer_lag_events counts them, too.",
            PARTITION,
        )
        self._held_seconds = make.gauges(
            "held_seconds",
            "seconds",
            "How long the same open transaction has held back events of a partition; 0: none does.",
            PARTITION,
        )
        self._lag_seconds = make.gauges(
            "consumer_lag_seconds",
            "seconds",
            "Time since the publishing of the oldest event in a partition that is not settled yet; 0: none.",
            PARTITION,
        )
        self._committed = make.gauges(
            "committed_offset", "", "Next offset of a partition as last committed.", PARTITION
        )
        self._commits = make.counters(
            "offset_commits_total", "commits", "Commits of offsets.", Label("outcome", ("done", "failed"))
        )
        self._read_again = make.counter(
            "events_read_again_total",
            "events",
            "Events read again since the last commit, as another index or an earlier state of it took the index's "
            "place.",
        )
        self._assigned = make.gauge("assigned_partitions", "partitions", "Partitions this indexer holds.")
        self._rebalances = make.counter(
            "rebalances_total", "rebalances", "Number of times that partitions were assigned again."
        )
        self._rebalancing = make.gauge(
            "rebalance_in_progress", "", "1 while partitions are given back and not yet assigned again."
        )
        self._rebalanced = make.histogram(
            "rebalance_duration_seconds",
            "seconds",
            DURATIONS,
            "Time from partitions being taken to their next assignment.",
        )

    @on(PartitionsAssigned)
    def assigned(self, assigned: PartitionsAssigned) -> None:
        """A rebalance ended."""
        self._rebalances.inc()
        self._hold(assigned.partitions)
        self._rebalancing.set(0)
        if self._revoked_at is not None:
            self._rebalanced.observe(self._monotonic() - self._revoked_at)
            self._revoked_at = None

    @on(PartitionsRevoked)
    def revoked(self, _: PartitionsRevoked) -> None:
        """A rebalance began."""
        self._hold(())
        self._rebalancing.set(1)
        self._revoked_at = self._monotonic()

    def _hold(self, partitions: Collection[Partition]) -> None:
        self._assigned.set(len(partitions))
        numbers = {str(each.partition) for each in partitions}
        for family in (self._lag, self._lag_seconds, self._committed, self._held, self._held_seconds):
            family.keep(numbers)

    @on(PartitionsCorrupt)
    def corrupt(self, corrupt: PartitionsCorrupt) -> None:
        """Partitions cannot go on."""
        self._corrupt.set(len(corrupt.partitions))

    @on(OffsetsCommitted)
    def committed(self, commit: OffsetsCommitted) -> None:
        """The broker has these offsets."""
        self._commits.of("done").inc(len(commit.offsets))
        for partition, offset in commit.offsets.items():
            self._committed.of(str(partition.partition)).set(offset)

    @on(CommitFailed)
    def commit_failed(self, _: CommitFailed) -> None:
        """Offsets could not be committed."""
        self._commits.of("failed").inc()

    @on(LagMeasured)
    def lag_measured(self, lag: LagMeasured) -> None:
        """What of a partition is not settled; an age that is not known is not shown."""
        number = str(lag.partition.partition)
        self._lag.of(number).set(lag.events)
        self._held.of(number).set(lag.held)
        self._held_seconds.of(number).set(lag.held_seconds)
        if lag.seconds is None:
            self._lag_seconds.forget(number)
        else:
            self._lag_seconds.of(number).set(max(0.0, lag.seconds))

    @on(EventsReadAgain)
    def read_again(self, again: EventsReadAgain) -> None:
        """Events are read again."""
        self._read_again.inc(again.events)

    @on(EventsLost)
    def lost(self, lost: EventsLost) -> None:
        """Events were gone before the indexer read them."""
        loss = lost.loss
        self._lost.of(str(loss.partition.partition), loss.reason, "indexer").inc(loss.events)
