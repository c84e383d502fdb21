"""Metrics of bulk requests, the breaker and the index."""

from __future__ import annotations

from typing import Final

from activity_indexer.reports import (
    BreakerClosed,
    BreakerOpened,
    BulkDone,
    BulkOutcome,
    BulkTook,
    BulkWaited,
    DocumentsRetried,
    DocumentsSentAlone,
    IndexChecked,
    RequestsInFlight,
    on,
)
from activity_indexer.telemetry.metrics.instruments import DURATIONS, Instruments, Label, word

BULK_OUTCOMES: Final = tuple(each.value for each in BulkOutcome)


class RequestMetrics:
    """What is sent to Elasticsearch."""

    def __init__(self, make: Instruments) -> None:
        self._requests = make.counters(
            "bulk_requests_total",
            "requests",
            "Bulk requests: all items done, some not (partial), to be sent again (retry), waiting for an operator "
            "(halt), too large or refused as a whole (split), or not understood (suspect).",
            Label("outcome", BULK_OUTCOMES),
        )
        self._bytes = make.counter("bulk_bytes_total", "bytes", "Bytes of the bodies of bulk requests.")
        self._duration = make.histogram(
            "bulk_duration_seconds", "seconds", DURATIONS, "Time of a bulk request, with its wait for a place."
        )
        self._wait = make.histogram(
            "bulk_wait_seconds", "seconds", DURATIONS, "Time that a bulk request waited for a place."
        )
        self._took = make.histogram(
            "bulk_took_seconds", "seconds", DURATIONS, "Time of a bulk request as Elasticsearch itself states it."
        )
        self._in_flight = make.gauge("in_flight_bulk_requests", "requests", "Bulk requests under way.")
        self._limit = make.gauge("in_flight_limit", "requests", "Bulk requests that may be under way now.")
        self._retries = make.counters(
            "retries_total", "events", "Events that were sent again, by the reason.", word("reason")
        )
        self._breaker = make.gauge(
            "breaker_open", "", "1 while intake is stopped because too large a share of valid events fails."
        )
        self._alone = make.gauge(
            "documents_sent_alone",
            "",
            "Documents that are refused without a verdict while others pass: each is sent by itself.",
        )
        self._as_expected = make.gauge(
            "index_as_expected", "", "1 while the alias and the index behind it are as an indexer makes them."
        )

    @on(BulkDone)
    def done(self, done: BulkDone) -> None:
        """A bulk request ended."""
        self._requests.of(done.outcome).inc()
        self._bytes.inc(done.size)
        self._duration.observe(done.seconds)

    @on(BulkWaited)
    def waited(self, waited: BulkWaited) -> None:
        """A bulk request has a place."""
        self._wait.observe(waited.seconds)

    @on(BulkTook)
    def took(self, took: BulkTook) -> None:
        """Elasticsearch states how long a bulk request took."""
        self._took.observe(took.seconds)

    @on(RequestsInFlight)
    def in_flight(self, under_way: RequestsInFlight) -> None:
        """Bulk requests are under way."""
        self._in_flight.set(under_way.requests)
        self._limit.set(under_way.limit)

    @on(DocumentsRetried)
    def retried(self, retried: DocumentsRetried) -> None:
        """Documents are sent again."""
        self._retries.of(retried.reason).inc(retried.documents)

    @on(DocumentsSentAlone)
    def sent_alone(self, alone: DocumentsSentAlone) -> None:
        """Documents are refused without a verdict."""
        self._alone.set(alone.documents)

    @on(BreakerOpened)
    def opened(self, _: BreakerOpened) -> None:
        """Intake is stopped."""
        self._breaker.set(1)

    @on(BreakerClosed)
    def closed(self, _: BreakerClosed) -> None:
        """Intake goes on."""
        self._breaker.set(0)

    @on(IndexChecked)
    def index_checked(self, checked: IndexChecked) -> None:
        """The index was checked."""
        self._as_expected.set(checked.problem is None)
