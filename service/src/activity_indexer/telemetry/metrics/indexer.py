"""The metrics of one indexer: told in counts per batch, shown to Prometheus and to people."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from activity_indexer.positions import LOSS_REASONS
from activity_indexer.telemetry.metrics.declarations import (
    AUDIT_OUTCOMES,
    BULK_OUTCOMES,
    CONSUMERS,
    DEAD_LETTER_STAGES,
    DECLARATIONS,
    DEDUP_LEVELS,
    DEPENDENCIES,
    EVENT_TYPES,
    INVALID,
    OPERATIONS,
    OTHER,
    OUTCOMES,
    PROBE_OUTCOMES,
    SPAN_OUTCOMES,
    STAGES,
    TIE_RESULTS,
)
from activity_indexer.telemetry.metrics.series import Distribution, Series

WORDS: Final = 64
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}", re.ASCII)


class Words:
    """Label values from the code: the first `limit` words in snake_case; whatever else comes is `other`."""

    def __init__(self, limit: int = WORDS) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def __call__(self, word: str) -> str:
        """The word, or `other`."""
        if word in self._known:
            return word
        if len(self._known) >= self._limit or not _WORD.fullmatch(word):
            return OTHER
        self._known.add(word)
        return word


class Metrics:
    """All metrics, in a registry of their own; to be told from one thread.

    Label values outside their sets become `other` (event types: `invalid`), so that nothing that comes from outside
    makes a new series.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._clock = clock
        self._series = Series(DECLARATIONS)
        self._errors, self._reasons = Words(), Words()
        for outcome in OUTCOMES:
            for event_type in EVENT_TYPES[:-1]:
                self._series.add("events_total", 0, outcome, event_type)
        self._series.set("build_info", 1, _package_version(), platform.python_version())
        self.registry.register(self._series)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    # What happens to events

    def consumed(self, events: int, nbytes: int) -> None:
        """So many events, with values of so many bytes, came from the topic."""
        self._series.add("events_consumed_total", events)
        self._series.add("consumed_bytes_total", nbytes)

    def settled(self, outcome: str, event_type: str, events: int = 1) -> None:
        """Events were indexed, updated, deleted, duplicate, late or dead_lettered."""
        kind = event_type if event_type in EVENT_TYPES else INVALID
        self._series.add("events_total", events, _known(outcome, OUTCOMES), kind)
        self._series.set("last_settled_timestamp_seconds", self._clock())

    def dead_lettered(self, stage: str, error: str, events: int = 1) -> None:
        """Events are in the dead-letter topic; `error` is its stable word. `settled` counts them by event type."""
        self._series.add("dead_letters_total", events, _known(stage, DEAD_LETTER_STAGES), self._errors(error))

    def truncated(self) -> None:
        """The dead-letter topic has only a part of an event."""
        self._series.add("dead_letters_truncated_total", 1)

    def retried(self, reason: str, events: int = 1) -> None:
        """Events are sent again, for a reason that is a stable word."""
        self._series.add("retries_total", events, self._reasons(reason))

    def event_ages(self, seconds: Sequence[float]) -> None:
        """Ages of the events of a batch at its settlement, from the timestamps of their records."""
        if seconds and min(seconds) < 0:  # the producer's clock may be ahead of ours
            seconds = [max(0.0, each) for each in seconds]
        self._series.distribution("event_age_seconds").add_all(seconds)

    def fresh(self, seconds: float) -> None:
        """A search found an event so long after it was published."""
        self._series.observe("freshness_seconds", max(0.0, seconds))

    def probed(self, outcome: str) -> None:
        """An event that was followed was seen or missed, or the search failed."""
        self._series.add("freshness_probes_total", 1, _known(outcome, PROBE_OUTCOMES))

    # Batches and requests

    def waited(self, seconds: float) -> None:
        """A batch began so long after its first event was taken."""
        self._series.observe("batch_wait_seconds", seconds)

    def batch(self, events: int, nbytes: int, seconds: float) -> None:
        """A batch was settled, so many seconds after it was closed."""
        self._series.observe("batch_events", events)
        self._series.observe("batch_bytes", nbytes)
        self._series.observe("batch_duration_seconds", seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """A batch went through decode, dedup, enrich, bulk or settle."""
        self._series.observe("stage_duration_seconds", seconds, _known(stage, STAGES))

    def bulk(self, outcome: str, seconds: float, nbytes: int) -> None:
        """A bulk request of so many bytes ended: done, partial, retry, halt, split or suspect."""
        self._series.add("bulk_requests_total", 1, _known(outcome, BULK_OUTCOMES))
        self._series.add("bulk_bytes_total", nbytes)
        self._series.observe("bulk_duration_seconds", seconds)

    def bulk_waited(self, seconds: float) -> None:
        """A bulk request waited so long for a place."""
        self._series.observe("bulk_wait_seconds", seconds)

    def bulk_took(self, seconds: float) -> None:
        """Elasticsearch says that a bulk request took it so long."""
        self._series.observe("bulk_took_seconds", seconds)

    def in_flight(self, requests: int, limit: int) -> None:
        """Bulk requests under way, and how many may be."""
        self._series.set("in_flight_bulk_requests", requests)
        self._series.set("in_flight_limit", limit)

    def buffered(self, events: int) -> None:
        """Events that were taken and wait for their turn."""
        self._series.set("buffered_events", events)

    def tied(self, result: str, events: int) -> None:
        """Events differ from another one of the same transaction, type and timestamp: they are `later` or `earlier`."""
        self._series.add("ties_total", events, _known(result, TIE_RESULTS))

    def dedup(self, level: str, lookups: int, hits: int) -> None:
        """Events were looked for in memory or in redis."""
        known = _known(level, DEDUP_LEVELS)
        self._series.add("dedup_lookups_total", lookups, known)
        self._series.add("dedup_hits_total", hits, known)

    def waits_alone(self, documents: int) -> None:
        """So many documents are sent by themselves."""
        self._series.set("documents_sent_alone", documents)

    def corrupt(self, partitions: int) -> None:
        """So many partitions cannot go on."""
        self._series.set("corrupt_partitions", partitions)

    def breaker(self, *, is_open: bool) -> None:
        """Whether intake is stopped because too many events fail."""
        self._series.set("breaker_open", int(is_open))

    def dependency(self, name: str, *, up: bool) -> None:
        """Whether kafka, elasticsearch, redis or postgres answers."""
        self._series.set("dependency_up", int(up), _known(name, DEPENDENCIES))

    def called(self, dependency: str, operation: str, seconds: float, *, failed: bool) -> None:
        """A call to a server ended."""
        labels = _known(dependency, DEPENDENCIES), _known(operation, OPERATIONS)
        self._series.observe("dependency_call_duration_seconds", seconds, *labels)
        if failed:
            self._series.add("dependency_call_failures_total", 1, *labels)

    def spans(self, outcome: str, count: int) -> None:
        """Spans were exported, failed or dropped."""
        self._series.add("spans_total", count, _known(outcome, SPAN_OUTCOMES))

    # Partitions

    def assigned(self, partitions: Collection[int]) -> None:
        """A rebalance gave this indexer these partitions; the values of others are forgotten."""
        self._series.add("rebalances_total", 1)
        self._hold(partitions)

    def revoked(self) -> None:
        """This indexer holds no partition now."""
        self._hold(())

    def rebalancing(self, *, going_on: bool) -> None:
        """Partitions are taken back, or assigned anew."""
        self._series.set("rebalance_in_progress", int(going_on))

    def rebalanced(self, seconds: float) -> None:
        """Partitions were assigned so long after others were taken back."""
        self._series.observe("rebalance_duration_seconds", seconds)

    def lag(self, partition: int, events: int) -> None:
        """Events of a partition that are not settled."""
        self._series.set("consumer_lag_events", events, str(partition))

    def lag_seconds(self, partition: int, seconds: float | None) -> None:
        """How long ago the oldest of them was published; None: it cannot be known, and is not shown."""
        if seconds is None:
            self._series.forget("consumer_lag_seconds", str(partition))
        else:
            self._series.set("consumer_lag_seconds", max(0.0, seconds), str(partition))

    def undated(self, events: int) -> None:
        """Events were written whose records carry no time that can be true."""
        self._series.add("implausible_timestamps_total", events)

    def held(self, partition: int, events: int, seconds: float) -> None:
        """Events of a partition that an open transaction holds back, and for how long the same one has."""
        self._series.set("held_events", events, str(partition))
        self._series.set("held_seconds", seconds, str(partition))

    def lost(self, partition: int, reason: str, consumer: str, events: int) -> None:
        """Events were gone before the indexer or the audit read them."""
        labels = _known(reason, LOSS_REASONS), _known(consumer, CONSUMERS)
        self._series.add("events_lost_total", events, str(partition), *labels)

    def committed(self, partition: int, offset: int) -> None:
        """The next offset of a partition was committed."""
        self._series.set("committed_offset", offset, str(partition))

    def read_again(self, events: int) -> None:
        """Events are read again, as the index changed."""
        self._series.add("events_read_again_total", events)

    def index_as_expected(self, *, as_expected: bool) -> None:
        """Whether the alias and the index behind it are as an indexer makes them."""
        self._series.set("index_as_expected", int(as_expected))

    def commit(self, *, done: bool) -> None:
        """A commit of offsets passed or failed."""
        self._series.add("offset_commits_total", 1, "done" if done else "failed")

    # Audit

    def audited(self, outcome: str, events: int = 1) -> None:
        """Events of the audit were written, invalid, rejected or dropped."""
        self._series.add("audit_events_total", events, _known(outcome, AUDIT_OUTCOMES))

    def audit_ties(self, events: int) -> None:
        """New events of the audit have the timestamp and rank of another one."""
        self._series.add("audit_ties_total", events)

    def audit_batch(self, seconds: float) -> None:
        """The audit wrote what one poll gave."""
        self._series.observe("audit_batch_duration_seconds", seconds)

    def audit_assigned(self, partitions: Collection[int]) -> None:
        """The audit holds these partitions; the values of others are forgotten."""
        for name in ("audit_lag_events", "audit_lag_seconds"):
            self._series.keep(name, map(str, partitions))

    def audit_lag(self, partition: int, events: int, seconds: float) -> None:
        """Events of a partition that the audit has not written, and how long ago the oldest was published."""
        self._series.set("audit_lag_events", events, str(partition))
        self._series.set("audit_lag_seconds", seconds, str(partition))

    # The process, and showing

    def ages(self) -> Distribution:
        """The ages of all events that were written, by bucket (seconds)."""
        return self._series.distribution("event_age_seconds")

    def loop_lag(self, seconds: float) -> None:
        """The event loop came to a timer so late."""
        self._series.observe("event_loop_lag_seconds", seconds)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type for a scrape, in the form that the Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def snapshot(self) -> dict[str, Any]:
        """Current values as JSON types: name without prefix → value, or nested by label values.

        Histograms show `count`, `sum`, and `p50` and `p99` estimated from their buckets.
        """
        return self._series.snapshot()

    def _hold(self, partitions: Collection[int]) -> None:
        self._series.set("assigned_partitions", len(partitions))
        for name in ("consumer_lag_events", "consumer_lag_seconds", "committed_offset", "held_events", "held_seconds"):
            self._series.keep(name, map(str, partitions))


def _known(value: str, values: Collection[str]) -> str:
    return value if value in values else OTHER


def _package_version() -> str:
    try:
        return version("activity-indexer")
    except PackageNotFoundError:
        return "unknown"
