"""Metrics of the way of an event: batches, bulk requests, dead letters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from activity_indexer.event import CREATED, DELETED, UPDATED
from activity_indexer.reports import (
    INDEX,
    OUTCOMES,
    BatchSettled,
    BatchStarted,
    BreakerClosed,
    BreakerOpened,
    BulkDone,
    BulkOutcome,
    BulkTook,
    DeadLettersWritten,
    DeadLetterTruncated,
    DocumentsRetried,
    DocumentsSentAlone,
    IntakeTurned,
    ProblemChanged,
    RecordsPolled,
    RequestsInFlight,
    SearchProbed,
    StageDone,
)
from activity_indexer.telemetry.metrics.distribution import Distribution
from activity_indexer.telemetry.metrics.instruments import Instruments, Label, word

INVALID: Final = "invalid"
AGES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
BYTES: Final = tuple(1024 * 4**power for power in range(9))
LEVEL: Final = Label("level", ("memory", "redis"))


def count_events(make: Instruments, clock: Callable[[], float]) -> None:
    """What becomes of events."""
    make.counter("events_consumed_total", "events", "Events taken from the transactions topic.").counts(
        RecordsPolled, lambda polled: polled.records
    )
    make.counter("consumed_bytes_total", "bytes", "Bytes of the values of these events.").counts(
        RecordsPolled, lambda polled: polled.size
    )
    make.gauge("buffered_events", "events", "Events taken from the topic that wait for their turn.").counts(
        IntakeTurned, lambda intake: intake.buffered
    )
    settled = make.counter(
        "events_total",
        "events",
        "Events settled: written (indexed, updated, deleted), known already (duplicate), older than what is there "
        "or than another one of its batch (late), or dead-lettered.",
        Label("outcome", OUTCOMES),
        Label("event_type", (CREATED, UPDATED, DELETED, INVALID), other=INVALID),
    ).counts_each(BatchSettled, lambda batch: batch.outcomes)
    for outcome in OUTCOMES:
        for event_type in (CREATED, UPDATED, DELETED):
            settled.of(outcome, event_type)
    make.gauge(
        "last_settled_timestamp_seconds", "seconds", "When an event was last settled (Unix time); 0: never."
    ).counts(BatchSettled, lambda _: clock())
    make.counter(
        "implausible_timestamps_total",
        "events",
        "Events written whose record carries no timestamp that can be true: none, one before September 2001 (a time in "
        "seconds), or one more than an hour ahead. They have no age, lag in seconds, or freshness.",
    ).counts(BatchSettled, lambda batch: batch.undated or None)
    make.counter(
        "ties_total",
        "events",
        "Events that differ from another one of the same transaction, type and timestamp: the later position wins.",
        Label("result", ("later", "earlier")),
    ).counts_each(BatchSettled, lambda batch: batch.ties)
    make.counter("dedup_lookups_total", "events", "Events looked for among those seen.", LEVEL).counts_each(
        BatchSettled, lambda batch: {"memory": batch.looked_up, "redis": batch.looked_up_in_store}
    )
    make.counter("dedup_hits_total", "events", "Events found among those seen.", LEVEL).counts_each(
        BatchSettled, lambda batch: {"memory": batch.known_in_memory, "redis": batch.known_in_store}
    )
    make.counter(
        "dead_letters_total",
        "events",
        "Events moved to the dead-letter topic.",
        Label("stage", ("decode", "validate", "enrich", "index")),
        word("error"),
    ).counts_each(DeadLettersWritten, lambda written: {written.kind: len(written.places)})
    make.counter(
        "dead_letters_truncated_total",
        "events",
        "Dead letters of which less than all is kept, as the dead-letter topic refuses their size.",
    ).counts(DeadLetterTruncated, lambda _: 1)


def time_batches(make: Instruments) -> Distribution:
    """Size and time of batches; returns the ages of all events that were written (seconds)."""
    make.histogram(
        "batch_events",
        "events",
        "Events in a request: of one batch, or of several that were due at the same time.",
        buckets=SIZES,
    ).counts(BatchSettled, lambda batch: batch.events)
    make.histogram("batch_bytes", "bytes", "Bytes of the event values of such a request.", buckets=BYTES).counts(
        BatchSettled, lambda batch: batch.size
    )
    make.histogram(
        "batch_duration_seconds", "seconds", "Time from the start of such a request to the settlement of its events."
    ).counts(BatchSettled, lambda batch: batch.duration)
    make.histogram(
        "stage_duration_seconds",
        "seconds",
        "Time of such a request in one stage.",
        Label("stage", ("decode", "dedup", "enrich", "bulk", "settle")),
    ).counts_each(StageDone, lambda done: {done.stage: done.seconds})
    make.histogram(
        "batch_wait_seconds",
        "seconds",
        "Time from the first event of such a request being taken to the start of the request.",
    ).counts(BatchStarted, lambda batch: batch.waited)
    make.histogram(
        "freshness_seconds",
        "seconds",
        "Time from the publishing of an event to the first search that finds it; measured by searching for one "
        "event each CONSUMER_FRESHNESS_INTERVAL.",
        buckets=AGES,
    ).counts(SearchProbed, lambda probed: None if probed.seconds is None else max(0.0, probed.seconds))
    make.counter(
        "freshness_probes_total",
        "probes",
        "Events that were followed until a search found them (seen), or did not in time, as a deletion may have "
        "come between (missed), or could not be searched for (failed).",
        Label("outcome", ("seen", "missed", "failed")),
    ).counts_each(SearchProbed, lambda probed: {probed.outcome: 1})
    ages = make.distribution(
        "event_age_seconds",
        "seconds",
        "Time from the publishing of an event to Elasticsearch's acknowledgement; of every event that is written.",
        AGES,
    )
    make.subscriptions.append((BatchSettled, lambda batch: ages.add_all(batch.ages)))
    return ages


def count_requests(make: Instruments) -> None:
    """What is sent to Elasticsearch."""
    make.counter(
        "bulk_requests_total",
        "requests",
        "Bulk requests: all items done, some not (partial), to be sent again (retry), waiting for an operator (halt), "
        "too large or refused as a whole (split), or not understood (suspect).",
        Label("outcome", tuple(each.value for each in BulkOutcome)),
    ).counts_each(BulkDone, lambda done: {done.outcome: 1})
    make.counter("bulk_bytes_total", "bytes", "Bytes of the bodies of bulk requests.").counts(
        BulkDone, lambda done: done.size
    )
    make.histogram("bulk_duration_seconds", "seconds", "Time of a bulk request, with its wait for a place.").counts(
        BulkDone, lambda done: done.seconds
    )
    make.histogram("bulk_wait_seconds", "seconds", "Time that a bulk request waited for a place.").counts(
        RequestsInFlight, lambda under_way: under_way.waited
    )
    make.histogram("bulk_took_seconds", "seconds", "Time of a bulk request as Elasticsearch itself states it.").counts(
        BulkTook, lambda took: took.seconds
    )
    make.gauge("in_flight_bulk_requests", "requests", "Bulk requests under way.").counts(
        RequestsInFlight, lambda under_way: under_way.requests
    )
    make.gauge("in_flight_limit", "requests", "Bulk requests that may be under way now.").counts(
        RequestsInFlight, lambda under_way: under_way.limit
    )
    make.counter("retries_total", "events", "Events that were sent again, by the reason.", word("reason")).counts_each(
        DocumentsRetried, lambda retried: {retried.reason: retried.documents}
    )
    make.gauge("breaker_open", "", "1 while intake is stopped because too large a share of valid events fails.").counts(
        BreakerOpened, lambda _: 1
    ).counts(BreakerClosed, lambda _: 0)
    make.gauge(
        "documents_sent_alone",
        "",
        "Documents that are refused without a verdict while others pass: each is sent by itself.",
    ).counts(DocumentsSentAlone, lambda alone: alone.documents)
    make.gauge(
        "index_as_expected", "", "1 while the alias and the index behind it are as an indexer makes them."
    ).counts(ProblemChanged, lambda changed: changed.problem is None if changed.code == INDEX else None)
