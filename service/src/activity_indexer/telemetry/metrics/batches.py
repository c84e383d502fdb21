"""Metrics of events and batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from activity_indexer.event import CREATED, DELETED, UPDATED
from activity_indexer.reports import (
    OUTCOMES,
    BatchSettled,
    BatchStarted,
    DeadLettersWritten,
    DeadLetterTruncated,
    Dependency,
    DependencyChanged,
    IntakeTurned,
    RecordsPolled,
    SearchProbed,
    StageDone,
    on,
)
from activity_indexer.telemetry.metrics.instruments import DURATIONS, Instruments, Label, word

INVALID: Final = "invalid"
STAGES: Final = ("decode", "dedup", "enrich", "bulk", "settle")
DEAD_LETTER_STAGES: Final = ("decode", "validate", "enrich", "index")
AGES: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400)
SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
BYTES: Final = tuple(1024 * 4**power for power in range(9))


class BatchMetrics:
    """What happens to events, by batch."""

    def __init__(self, make: Instruments, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._redis_answers = False
        self._consumed = make.counter("events_consumed_total", "events", "Events taken from the transactions topic.")
        self._consumed_bytes = make.counter("consumed_bytes_total", "bytes", "Bytes of the values of these events.")
        self._settled = make.counters(
            "events_total",
            "events",
            "Events settled: written (indexed, updated, deleted), known already (duplicate), older than what is there "
            "or than another one of its batch (late), or dead-lettered.",
            Label("outcome", OUTCOMES),
            Label("event_type", (CREATED, UPDATED, DELETED, INVALID), other=INVALID),
        )
        for outcome in OUTCOMES:
            for event_type in (CREATED, UPDATED, DELETED):
                self._settled.of(outcome, event_type)
        self._events = make.histogram(
            "batch_events",
            "events",
            SIZES,
            "Events in a request: of one batch, or of several that were due at the same time.",
        )
        self._bytes = make.histogram("batch_bytes", "bytes", BYTES, "Bytes of the event values of such a request.")
        self._duration = make.histogram(
            "batch_duration_seconds",
            "seconds",
            DURATIONS,
            "Time from the start of such a request to the settlement of its events.",
        )
        self._stage = make.histograms(
            "stage_duration_seconds", "seconds", "Time of such a request in one stage.", Label("stage", STAGES)
        )
        self._waited = make.histogram(
            "batch_wait_seconds",
            "seconds",
            DURATIONS,
            "Time from the first event of such a request being taken to the start of the request.",
        )
        self.ages = make.distribution(
            "event_age_seconds",
            "seconds",
            AGES,
            "Time from the publishing of an event to Elasticsearch's acknowledgement; of every event that is written.",
        )
        self._undated = make.counter(
            "implausible_timestamps_total",
            "events",
            "Events written whose record carries no timestamp that can be true: none, one before September 2001 (a "
            "time in seconds), or one more than an hour ahead. They have no age, lag in seconds, or freshness.",
        )
        self._fresh = make.histogram(
            "freshness_seconds",
            "seconds",
            AGES,
            "Time from the publishing of an event to the first search that finds it; measured by searching for one "
            "event each CONSUMER_FRESHNESS_INTERVAL.",
        )
        self._probes = make.counters(
            "freshness_probes_total",
            "probes",
            "Events that were followed until a search found them (seen), or did not in time, as a deletion may have "
            "come between (missed), or could not be searched for (failed).",
            Label("outcome", ("seen", "missed", "failed")),
        )
        self._buffered = make.gauge(
            "buffered_events", "events", "Events taken from the topic that wait for their turn."
        )
        self._dead_letters = make.counters(
            "dead_letters_total",
            "events",
            "Events moved to the dead-letter topic.",
            Label("stage", DEAD_LETTER_STAGES),
            word("error"),
        )
        self._truncated = make.counter(
            "dead_letters_truncated_total",
            "events",
            "Dead letters of which less than all is kept, as the dead-letter topic refuses their size.",
        )
        self._ties = make.counters(
            "ties_total",
            "events",
            "Events that differ from another one of the same transaction, type and timestamp: the later position wins.",
            Label("result", ("later", "earlier")),
        )
        level = Label("level", ("memory", "redis"))
        self._lookups = make.counters("dedup_lookups_total", "events", "Events looked for among those seen.", level)
        self._hits = make.counters("dedup_hits_total", "events", "Events found among those seen.", level)
        self._settled_at = make.gauge(
            "last_settled_timestamp_seconds", "seconds", "When an event was last settled (Unix time); 0: never."
        )

    @on(RecordsPolled)
    def polled(self, polled: RecordsPolled) -> None:
        """Records came from the topic."""
        self._consumed.inc(polled.records)
        self._consumed_bytes.inc(polled.size)

    @on(IntakeTurned)
    def turned(self, intake: IntakeTurned) -> None:
        """Events wait for their turn."""
        self._buffered.set(intake.buffered)

    @on(BatchStarted)
    def started(self, batch: BatchStarted) -> None:
        """A batch began."""
        self._waited.observe(batch.waited)

    @on(StageDone)
    def stage_done(self, done: StageDone) -> None:
        """A batch went through a stage."""
        self._stage.of(done.stage).observe(done.seconds)

    @on(BatchSettled)
    def settled(self, batch: BatchSettled) -> None:
        """All numbers of a batch."""
        self._events.observe(batch.events)
        self._bytes.observe(batch.size)
        self._duration.observe(batch.duration)
        self.ages.add_all(batch.ages)
        if batch.undated:
            self._undated.inc(batch.undated)
        for (outcome, event_type), count in batch.outcomes.items():
            self._settled.of(outcome, event_type).inc(count)
        self._settled_at.set(self._clock())
        for result, count in batch.ties.items():
            self._ties.of(result).inc(count)
        self._looked_up("memory", batch.looked_up, batch.known_in_memory)
        if self._redis_answers:
            self._looked_up("redis", batch.looked_up - batch.known_in_memory, batch.known_in_store)

    def _looked_up(self, level: str, lookups: int, hits: int) -> None:
        self._lookups.of(level).inc(lookups)
        self._hits.of(level).inc(hits)

    @on(DependencyChanged)
    def dependency_changed(self, changed: DependencyChanged) -> None:
        """While Redis does not answer, nothing is looked up there."""
        if changed.dependency is Dependency.REDIS:
            self._redis_answers = changed.problem is None

    @on(DeadLettersWritten)
    def dead_lettered(self, written: DeadLettersWritten) -> None:
        """The dead-letter topic has events with one stage and error."""
        error = written.letter(written.places[0]).failure.error
        self._dead_letters.of(error.stage, error.code).inc(len(written.places))

    @on(DeadLetterTruncated)
    def truncated(self, _: DeadLetterTruncated) -> None:
        """The dead-letter topic has only a part of an event."""
        self._truncated.inc()

    @on(SearchProbed)
    def probed(self, probed: SearchProbed) -> None:
        """An event was followed."""
        self._probes.of(probed.outcome).inc()
        if probed.seconds is not None:
            self._fresh.observe(max(0.0, probed.seconds))
