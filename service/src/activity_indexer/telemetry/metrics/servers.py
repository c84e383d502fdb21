"""Metrics of the servers and of the process itself."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import Gauge

from activity_indexer.reports import (
    BulkDone,
    BulkOutcome,
    CallEnded,
    Dependency,
    DependencyChanged,
    LoopTicked,
    SpansExported,
    on,
)
from activity_indexer.telemetry.metrics.instruments import DURATIONS, Family, Instruments, Label

SERVERS: Final = tuple(each.value for each in Dependency if each is not Dependency.DEAD_LETTERS)
OPERATIONS: Final = ("send", "commit", "bulk", "read", "search", "seen", "mark", "write", "reject", "prepare")
ANSWERED: Final = frozenset({BulkOutcome.DONE, BulkOutcome.PARTIAL})


def servers_up(make: Instruments) -> Family[Gauge]:
    """Set for the indexer's servers and for the audit's."""
    about = "1 while a server answers, 0 while it does not."
    return make.gauges("dependency_up", "", about, Label("dependency", SERVERS))


class ServerMetrics:
    """Whether the indexer's servers answer."""

    def __init__(self, up: Family[Gauge]) -> None:
        self._up = up
        self._elasticsearch_fails = False

    @on(DependencyChanged)
    def changed(self, changed: DependencyChanged) -> None:
        """A server answers, or does not."""
        if changed.dependency is Dependency.ELASTICSEARCH:
            self._elasticsearch_fails = changed.problem is not None
        if changed.dependency is not Dependency.DEAD_LETTERS:
            self._up.of(changed.dependency).set(changed.problem is None)

    @on(BulkDone)
    def bulk_done(self, done: BulkDone) -> None:
        """Elasticsearch answers, though its recovery is reported apart."""
        if done.outcome in ANSWERED and not self._elasticsearch_fails:
            self._up.of(Dependency.ELASTICSEARCH).set(1)


class ProcessMetrics:
    """Calls, spans and the event loop, of the indexer and the audit alike."""

    def __init__(self, make: Instruments) -> None:
        call = Label("dependency", SERVERS), Label("operation", OPERATIONS)
        self._calls = make.histograms(
            "dependency_call_duration_seconds", "seconds", "Time of a call to a server, failed ones too.", *call
        )
        self._failures = make.counters(
            "dependency_call_failures_total", "calls", "Calls to a server that failed.", *call
        )
        self._loop = make.histogram(
            "event_loop_lag_seconds", "seconds", DURATIONS, "How late the event loop comes to a timer."
        )
        self._spans = make.counters(
            "spans_total",
            "spans",
            "Spans of traces: taken by the collector (exported), refused or not answered (failed), "
            "or more than the queue holds (dropped).",
            Label("outcome", ("exported", "failed", "dropped")),
        )
        build = make.gauges(
            "build_info",
            "",
            "Always 1; the labels say what runs.",
            Label("version", "version of the indexer"),
            Label("python_version", "version of Python"),
        )
        build.of(_package_version(), platform.python_version()).set(1)

    @on(CallEnded)
    def called(self, call: CallEnded) -> None:
        """A call to a server ended."""
        self._calls.of(call.dependency, call.operation).observe(call.seconds)
        if call.failed:
            self._failures.of(call.dependency, call.operation).inc()

    @on(LoopTicked)
    def ticked(self, tick: LoopTicked) -> None:
        """The event loop came to a timer."""
        self._loop.observe(tick.lag)

    @on(SpansExported)
    def exported(self, exported: SpansExported) -> None:
        """Spans were exported, failed or dropped."""
        self._spans.of(exported.outcome).inc(exported.spans)


def _package_version() -> str:
    try:
        return version("activity-indexer")
    except PackageNotFoundError:
        return "unknown"
