"""Metrics of the consumer groups, of the servers, and of the process."""

from __future__ import annotations

import platform
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import Gauge

from activity_indexer.ports import AuditOutcome
from activity_indexer.positions import LOSS_REASONS, Partition
from activity_indexer.reports import (
    AuditBatchWritten,
    AuditLagMeasured,
    AuditTiesFound,
    CallEnded,
    CommitFailed,
    Dependency,
    DependencyChanged,
    EventsLost,
    EventsReadAgain,
    LagMeasured,
    LoopTicked,
    OffsetsCommitted,
    PartitionsAssigned,
    PartitionsCorrupt,
    PartitionsRevoked,
    SpansExported,
    Subscription,
)
from activity_indexer.telemetry.metrics.instruments import PARTITION, Family, Instruments, Label

SERVERS: Final = tuple(each.value for each in Dependency if each is not Dependency.DEAD_LETTERS)
OPERATIONS: Final = ("send", "commit", "bulk", "read", "search", "seen", "mark", "write", "reject", "prepare")


def count_member(make: Instruments, audit: list[Subscription]) -> None:
    """The indexer as a member of its group; what is lost is counted for the audit, too."""
    make.counter(
        "events_lost_total",
        "events",
        "Offsets that were gone before they were read: deleted by retention, cut off by a leader that did not have "
        "them (truncation), or deleted with their topic (recreated).",
        Label("partition", "number of a partition"),
        Label("reason", LOSS_REASONS),
        Label("consumer", ("indexer", "audit")),
    ).counts_each(EventsLost, lambda lost: _lost(lost, "indexer")).counts_each(
        EventsLost, lambda lost: _lost(lost, "audit"), audit
    )
    make.gauge(
        "corrupt_partitions", "partitions", "Assigned partitions that cannot go on, since their next batch is damaged."
    ).counts(PartitionsCorrupt, lambda corrupt: len(corrupt.partitions))
    make.counter(
        "offset_commits_total", "commits", "Commits of offsets.", Label("outcome", ("done", "failed"))
    ).counts_each(OffsetsCommitted, lambda commit: {"done": len(commit.offsets)}).counts_each(
        CommitFailed, lambda _: {"failed": 1}
    )
    make.counter(
        "events_read_again_total",
        "events",
        "Events read again since the last commit, as another index or an earlier state of it took the index's place.",
    ).counts(EventsReadAgain, lambda again: again.events)
    make.gauge("rebalance_in_progress", "", "1 while partitions are given back and not yet assigned again.").counts(
        PartitionsRevoked, lambda _: 1
    ).counts(PartitionsAssigned, lambda _: 0)
    make.gauge("assigned_partitions", "partitions", "Partitions this indexer holds.").counts(
        PartitionsRevoked, lambda _: 0
    ).counts(PartitionsAssigned, lambda assigned: len(assigned.partitions))
    make.counter("rebalances_total", "rebalances", "Number of times that partitions were assigned again.").counts(
        PartitionsAssigned, lambda _: 1
    )
    make.histogram(
        "rebalance_duration_seconds", "seconds", "Time from partitions being taken to their next assignment."
    ).counts(PartitionsAssigned, lambda assigned: assigned.seconds)


def measure_partitions(make: Instruments) -> None:
    """Numbers of each partition; those of partitions that are not assigned are forgotten."""
    families = [
        make.gauge(
            "consumer_lag_events",
            "events",
            "Events in a partition that are not settled yet, up to its high watermark.",
            PARTITION,
        ).counts_each(LagMeasured, lambda lag: {_number(lag.partition): lag.events}),
        make.gauge(
            "held_events",
            "events",
            "Events in a partition that cannot be read yet, since they are behind the start of an open transaction of "
            "a producer; consumer_lag_events counts them, too.",
            PARTITION,
        ).counts_each(LagMeasured, lambda lag: {_number(lag.partition): lag.held}),
        make.gauge(
            "held_seconds",
            "seconds",
            "How long the same open transaction has held back events of a partition; 0: none does.",
            PARTITION,
        ).counts_each(LagMeasured, lambda lag: {_number(lag.partition): lag.held_seconds}),
        make.gauge("committed_offset", "", "Next offset of a partition as last committed.", PARTITION).counts_each(
            OffsetsCommitted, lambda commit: {_number(place): offset for place, offset in commit.offsets.items()}
        ),
    ]
    seconds = make.gauge(
        "consumer_lag_seconds",
        "seconds",
        "Time since the publishing of the oldest event in a partition that is not settled yet; 0: none.",
        PARTITION,
    )
    families.append(seconds)

    def aged(lag: LagMeasured) -> None:
        if lag.seconds is None:
            seconds.forget(_number(lag.partition))
        else:
            seconds.of(_number(lag.partition)).set(max(0.0, lag.seconds))

    make.subscriptions += [
        (LagMeasured, aged),
        (PartitionsRevoked, lambda _: _keep(families, ())),
        (PartitionsAssigned, lambda assigned: _keep(families, assigned.partitions)),
    ]


def count_servers(make: Instruments, audit: list[Subscription]) -> None:
    """Whether servers answer: the indexer shows its own, the audit PostgreSQL alone."""
    make.gauge(
        "dependency_up", "", "1 while a server answers, 0 while it does not.", Label("dependency", SERVERS)
    ).counts_each(DependencyChanged, lambda changed: _up(changed, SERVERS)).counts_each(
        DependencyChanged, lambda changed: _up(changed, (Dependency.POSTGRES,)), audit
    )


def count_process(make: Instruments) -> None:
    """Calls, spans and the event loop, of the indexer and the audit alike."""
    call = Label("dependency", SERVERS), Label("operation", OPERATIONS)
    make.histogram(
        "dependency_call_duration_seconds", "seconds", "Time of a call to a server, failed ones too.", *call
    ).counts_each(CallEnded, lambda call: {(call.dependency, call.operation): call.seconds})
    make.counter("dependency_call_failures_total", "calls", "Calls to a server that failed.", *call).counts_each(
        CallEnded, lambda call: {(call.dependency, call.operation): 1} if call.failed else {}
    )
    make.histogram("event_loop_lag_seconds", "seconds", "How late the event loop comes to a timer.").counts(
        LoopTicked, lambda tick: tick.lag
    )
    make.counter(
        "spans_total",
        "spans",
        "Spans of traces: taken by the collector (exported), refused or not answered (failed), "
        "or more than the queue holds (dropped).",
        Label("outcome", ("exported", "failed", "dropped")),
    ).counts_each(SpansExported, lambda exported: {exported.outcome: exported.spans})
    try:
        package = version("activity-indexer")
    except PackageNotFoundError:
        package = "unknown"
    make.gauge(
        "build_info",
        "",
        "Always 1; the labels say what runs.",
        Label("version", "version of the indexer"),
        Label("python_version", "version of Python"),
    ).of(package, platform.python_version()).set(1)


def count_audit(make: Instruments) -> None:
    """What the audit writes, and what it has not written yet."""
    make.counter(
        "audit_events_total",
        "events",
        "Events of the audit: written, invalid (not an event), refused by PostgreSQL and put aside (rejected), "
        "or refused even there (dropped).",
        Label("outcome", tuple(outcome.value for outcome in AuditOutcome)),
    ).counts_each(AuditBatchWritten, lambda batch: batch.outcomes)
    make.counter(
        "audit_ties_total",
        "events",
        "New events of the audit with the timestamp and rank of another event of their transaction: the later position "
        "wins, and the history has both.",
    ).counts(AuditTiesFound, lambda tied: tied.events)
    make.histogram("audit_batch_duration_seconds", "seconds", "Time to write what one poll of the audit gave.").counts(
        AuditBatchWritten, lambda batch: batch.seconds
    )
    families = [
        make.gauge(
            "audit_lag_events", "events", "Events in a partition that the audit has not written yet.", PARTITION
        ).counts_each(
            AuditLagMeasured, lambda lag: {_number(place): each.events for place, each in lag.partitions.items()}
        ),
        make.gauge(
            "audit_lag_seconds",
            "seconds",
            "Time since the publishing of the oldest event in a partition that the audit has not written yet; 0: none.",
            PARTITION,
        ).counts_each(
            AuditLagMeasured, lambda lag: {_number(place): each.seconds for place, each in lag.partitions.items()}
        ),
    ]
    make.subscriptions.append((AuditLagMeasured, lambda lag: _keep(families, lag.partitions)))


def _number(partition: Partition) -> str:
    return str(partition.partition)


def _lost(lost: EventsLost, consumer: str) -> dict[tuple[str, ...], float]:
    loss = lost.loss
    return {(_number(loss.partition), loss.reason, consumer): loss.events}


def _up(changed: DependencyChanged, servers: Collection[str]) -> dict[str, float]:
    return {changed.dependency: changed.problem is None} if changed.dependency in servers else {}


def _keep(families: Collection[Family[Gauge]], partitions: Collection[Partition]) -> None:
    numbers = set(map(_number, partitions))
    for family in families:
        family.keep(numbers)
