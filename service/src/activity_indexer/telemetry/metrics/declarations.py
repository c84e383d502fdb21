"""Every metric, declared once: the exposition and the table in the docs are made from this list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from activity_indexer.ports import AuditOutcome
from activity_indexer.positions import LOSS_REASONS

PREFIX: Final = "activity_indexer_"
OTHER: Final = "other"
INVALID: Final = "invalid"

EVENT_TYPES: Final = ("transaction.created", "transaction.updated", "transaction.deleted", INVALID)
OUTCOMES: Final = ("indexed", "updated", "deleted", "duplicate", "late", "dead_lettered")
STAGES: Final = ("decode", "dedup", "enrich", "bulk", "settle")
DEAD_LETTER_STAGES: Final = ("decode", "validate", "enrich", "index")
BULK_OUTCOMES: Final = ("done", "partial", "retry", "halt", "split", "suspect")
COMMIT_OUTCOMES: Final = ("done", "failed")
AUDIT_OUTCOMES: Final = tuple(outcome.value for outcome in AuditOutcome)
CONSUMERS: Final = ("indexer", "audit")
TIE_RESULTS: Final = ("later", "earlier")
DEDUP_LEVELS: Final = ("memory", "redis")
DEPENDENCIES: Final = ("kafka", "elasticsearch", "redis", "postgres")
OPERATIONS: Final = ("send", "commit", "bulk", "read", "search", "seen", "mark", "write", "reject", "prepare")
PROBE_OUTCOMES: Final = ("seen", "missed", "failed")
SPAN_OUTCOMES: Final = ("exported", "failed", "dropped")

DURATIONS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
AGES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
BYTES: Final = tuple(1024 * 4**power for power in range(9))


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its name, and its values when they are a closed set (a tuple), else what they are (a text)."""

    name: str
    values: tuple[str, ...] | str


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric. `name` is what Prometheus shows, without the prefix; histograms have `buckets` in `unit`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    labels: Sequence[Label] = ()
    buckets: Sequence[float] = field(default=())

    @property
    def full_name(self) -> str:
        """The name with its prefix."""
        return PREFIX + self.name


PARTITION: Final = Label("partition", "number of an assigned partition")
CALL: Final = (Label("dependency", DEPENDENCIES), Label("operation", OPERATIONS))
_WORD: Final = "a word of the code, at most 64 different ones, else `other`"


def _counter(name: str, unit: str, about: str, *labels: Label) -> Declaration:
    return Declaration(name, "counter", unit, about, labels)


def _gauge(name: str, unit: str, about: str, *labels: Label) -> Declaration:
    return Declaration(name, "gauge", unit, about, labels)


def _histogram(name: str, unit: str, buckets: Sequence[float], about: str, *labels: Label) -> Declaration:
    return Declaration(name, "histogram", unit, about, labels, buckets)


DECLARATIONS: Final = (
    _counter("events_consumed_total", "events", "Events taken from the transactions topic."),
    _counter("consumed_bytes_total", "bytes", "Bytes of the values of these events."),
    _counter(
        "events_total",
        "events",
        "Events settled: written (indexed, updated, deleted), known already (duplicate), older than what is there "
        "or than another one of its batch (late), or dead-lettered.",
        Label("outcome", OUTCOMES),
        Label("event_type", EVENT_TYPES),
    ),
    _histogram(
        "batch_events",
        "events",
        SIZES,
        "Events in a request: of one batch, or of several that were due at the same time.",
    ),
    _histogram("batch_bytes", "bytes", BYTES, "Bytes of the event values of such a request."),
    _histogram(
        "batch_duration_seconds",
        "seconds",
        DURATIONS,
        "Time from the start of such a request to the settlement of its events.",
    ),
    _histogram(
        "stage_duration_seconds", "seconds", DURATIONS, "Time of such a request in one stage.", Label("stage", STAGES)
    ),
    _histogram(
        "batch_wait_seconds",
        "seconds",
        DURATIONS,
        "Time from the first event of such a request being taken to the start of the request.",
    ),
    _histogram(
        "event_age_seconds",
        "seconds",
        AGES,
        "Time from the publishing of an event to Elasticsearch's acknowledgement; of every event that is written.",
    ),
    _counter(
        "implausible_timestamps_total",
        "events",
        "Events written whose record carries no timestamp that can be true: none, one before September 2001 (a time in "
        "seconds), or one more than an hour ahead. They have no age, lag in seconds, or freshness.",
    ),
    _histogram(
        "freshness_seconds",
        "seconds",
        AGES,
        "Time from the publishing of an event to the first search that finds it; measured by searching for one "
        "event each CONSUMER_FRESHNESS_INTERVAL.",
    ),
    _counter(
        "freshness_probes_total",
        "probes",
        "Events that were followed until a search found them (seen), or did not in time, as a deletion may have "
        "come between (missed), or could not be searched for (failed).",
        Label("outcome", PROBE_OUTCOMES),
    ),
    _counter(
        "bulk_requests_total",
        "requests",
        "Bulk requests: all items done, some not (partial), to be sent again (retry), waiting for an operator (halt), "
        "too large or refused as a whole (split), or not understood (suspect).",
        Label("outcome", BULK_OUTCOMES),
    ),
    _counter("bulk_bytes_total", "bytes", "Bytes of the bodies of bulk requests."),
    _histogram("bulk_duration_seconds", "seconds", DURATIONS, "Time of a bulk request, with its wait for a place."),
    _histogram("bulk_wait_seconds", "seconds", DURATIONS, "Time that a bulk request waited for a place."),
    _histogram("bulk_took_seconds", "seconds", DURATIONS, "Time of a bulk request as Elasticsearch itself states it."),
    _gauge("in_flight_bulk_requests", "requests", "Bulk requests under way."),
    _gauge("in_flight_limit", "requests", "Bulk requests that may be under way now."),
    _gauge("buffered_events", "events", "Events taken from the topic that wait for their turn."),
    _counter("retries_total", "events", "Events that were sent again, by the reason.", Label("reason", _WORD)),
    _counter(
        "dead_letters_total",
        "events",
        "Events moved to the dead-letter topic.",
        Label("stage", DEAD_LETTER_STAGES),
        Label("error", _WORD),
    ),
    _counter(
        "dead_letters_truncated_total",
        "events",
        "Dead letters of which less than all is kept, as the dead-letter topic refuses their size.",
    ),
    _gauge(
        "corrupt_partitions", "partitions", "Assigned partitions that cannot go on, since their next batch is damaged."
    ),
    _gauge("breaker_open", "", "1 while intake is stopped because too large a share of valid events fails."),
    _gauge(
        "documents_sent_alone",
        "",
        "Documents that are refused without a verdict while others pass: each is sent by itself.",
    ),
    _counter(
        "ties_total",
        "events",
        "Events that differ from another one of the same transaction, type and timestamp: the later position wins.",
        Label("result", TIE_RESULTS),
    ),
    _counter("dedup_lookups_total", "events", "Events looked for among those seen.", Label("level", DEDUP_LEVELS)),
    _counter("dedup_hits_total", "events", "Events found among those seen.", Label("level", DEDUP_LEVELS)),
    _gauge(
        "consumer_lag_events",
        "events",
        "Events in a partition that are not settled yet, up to its high watermark.",
        PARTITION,
    ),
    _gauge(
        "held_events",
        "events",
        "Events in a partition that cannot be read yet, since they are behind the start of an open transaction of a "
        "producer; consumer_lag_events counts them, too.",
        PARTITION,
    ),
    _gauge(
        "held_seconds",
        "seconds",
        "How long the same open transaction has held back events of a partition; 0: none does.",
        PARTITION,
    ),
    _counter(
        "events_lost_total",
        "events",
        "Offsets that were gone before they were read: deleted by retention, cut off by a leader that did not have "
        "them (truncation), or deleted with their topic (recreated).",
        Label("partition", "number of a partition"),
        Label("reason", LOSS_REASONS),
        Label("consumer", CONSUMERS),
    ),
    _gauge(
        "consumer_lag_seconds",
        "seconds",
        "Time since the publishing of the oldest event in a partition that is not settled yet; 0: none.",
        PARTITION,
    ),
    _gauge("committed_offset", "", "Next offset of a partition as last committed.", PARTITION),
    _counter("offset_commits_total", "commits", "Commits of offsets.", Label("outcome", COMMIT_OUTCOMES)),
    _gauge("index_as_expected", "", "1 while the alias and the index behind it are as an indexer makes them."),
    _counter(
        "events_read_again_total",
        "events",
        "Events read again since the last commit, as another index or an earlier state of it took the index's place.",
    ),
    _gauge("assigned_partitions", "partitions", "Partitions this indexer holds."),
    _counter("rebalances_total", "rebalances", "Number of times that partitions were assigned again."),
    _gauge("rebalance_in_progress", "", "1 while partitions are given back and not yet assigned again."),
    _histogram(
        "rebalance_duration_seconds", "seconds", DURATIONS, "Time from partitions being taken to their next assignment."
    ),
    _gauge("last_settled_timestamp_seconds", "seconds", "When an event was last settled (Unix time); 0: never."),
    _gauge("dependency_up", "", "1 while a server answers, 0 while it does not.", Label("dependency", DEPENDENCIES)),
    _histogram(
        "dependency_call_duration_seconds", "seconds", DURATIONS, "Time of a call to a server, failed ones too.", *CALL
    ),
    _counter("dependency_call_failures_total", "calls", "Calls to a server that failed.", *CALL),
    _counter(
        "audit_events_total",
        "events",
        "Events of the audit: written, invalid (not an event), refused by PostgreSQL and put aside (rejected), "
        "or refused even there (dropped).",
        Label("outcome", AUDIT_OUTCOMES),
    ),
    _counter(
        "audit_ties_total",
        "events",
        "New events of the audit with the timestamp and rank of another event of their transaction: the later position "
        "wins, and the history has both.",
    ),
    _histogram("audit_batch_duration_seconds", "seconds", DURATIONS, "Time to write what one poll of the audit gave."),
    _gauge("audit_lag_events", "events", "Events in a partition that the audit has not written yet.", PARTITION),
    _gauge(
        "audit_lag_seconds",
        "seconds",
        "Time since the publishing of the oldest event in a partition that the audit has not written yet; 0: none.",
        PARTITION,
    ),
    _histogram("event_loop_lag_seconds", "seconds", DURATIONS, "How late the event loop comes to a timer."),
    _counter(
        "spans_total",
        "spans",
        "Spans of traces: taken by the collector (exported), refused or not answered (failed), "
        "or more than the queue holds (dropped).",
        Label("outcome", SPAN_OUTCOMES),
    ),
    _gauge(
        "build_info",
        "",
        "Always 1; the labels say what runs.",
        Label("version", "version of the indexer"),
        Label("python_version", "version of Python"),
    ),
)

COLLECTED: Final[Mapping[str, str]] = {
    "process_*": "CPU, memory, file descriptors and start time of the process (Linux).",
    "python_gc_*": "Work of the garbage collector by generation.",
    "python_info": "Version and implementation of Python.",
}
"""Metrics that the Prometheus client adds of itself."""
