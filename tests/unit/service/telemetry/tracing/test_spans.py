"""Spans without a collector; the integration tests look at what one receives."""

import asyncio
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from fixtures.records import Reported
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind
from structlog.contextvars import get_contextvars
from structlog.testing import capture_logs

from activity_common.otlp import ReportedExporter
from activity_common.trace_context import trace_contexts, traceparent
from activity_indexer.errors import Unavailable
from activity_indexer.settings import load_settings
from activity_indexer.telemetry.tracing import exporting
from activity_indexer.telemetry.tracing.exporting import Export, LinkedSampler
from activity_indexer.telemetry.tracing.spans import Consumed, Spans
from activity_indexer.tracing import UntracedBatch

NEVER = ParentBasedTraceIdRatio(0.0)


def tracing(sampler: Sampler = DEFAULT_ON) -> tuple[Spans, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept)
    provider = TracerProvider(LinkedSampler(sampler), Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Spans(provider, processor, Consumed("events", "group", "client", "events.dlq"), "1"), kept


def record(offset: int, *, sampled: bool | None = True) -> Reported:
    """An event of trace number offset + 1; None: of no trace."""
    header = traceparent(offset + 1, 5)
    headers = [] if sampled is None else [("traceparent", header if sampled else header[:-2] + b"00")]
    return Reported(b"", offset, headers=headers)


def processed(spans: Spans, records: list[Reported], outcomes: dict[int, str]) -> None:
    with spans.batch(records, trace_contexts(records)) as trace:
        trace.settled(outcomes, {})


def names(kept: InMemorySpanExporter) -> list[str]:
    return [span.name for span in kept.get_finished_spans()]


def test_only_events_that_their_producer_sampled_have_spans_and_links() -> None:
    spans, kept = tracing()
    processed(spans, [record(0), record(1, sampled=False), record(2, sampled=None)], dict.fromkeys(range(3), "indexed"))
    event, batch = kept.get_finished_spans()
    assert event.context.trace_id == 1
    assert [link.context.trace_id for link in batch.links] == [1]
    assert batch.attributes is not None
    assert batch.attributes["activity_indexer.events.indexed"] == 3


@pytest.mark.parametrize(
    ("sampler", "sampled", "recorded"),
    [
        (DEFAULT_ON, None, 1),
        (DEFAULT_ON, True, 2),
        (NEVER, None, 0),
        (NEVER, False, 0),
        (NEVER, True, 2),
        (ALWAYS_OFF, True, 0),
        (TraceIdRatioBased(0.0), True, 0),
    ],
)
def test_a_batch_is_recorded_as_its_events_are_and_else_as_the_sampler_says(
    sampler: Sampler, sampled: bool | None, recorded: int
) -> None:
    spans, kept = tracing(sampler)
    processed(spans, [record(0, sampled=sampled)], {0: "indexed"})
    assert len(names(kept)) == recorded


class _ButOne(Sampler):
    """Wants all traces but that with the id 2."""

    def should_sample(self, parent_context: object, trace_id: int, *_: Any, **__: Any) -> SamplingResult:
        return SamplingResult(Decision.DROP if trace_id == 2 else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "ButOne"


def test_a_sampler_that_decides_by_trace_is_asked_for_each_event() -> None:
    spans, kept = tracing(_ButOne())
    processed(spans, [record(0), record(1), record(2)], dict.fromkeys(range(3), "indexed"))
    assert [span.context.trace_id for span in kept.get_finished_spans() if span.parent] == [1, 3]


def test_an_events_span_says_where_it_came_from_what_became_of_it_and_leads_to_its_batch() -> None:
    spans, kept = tracing()
    headers = [("traceparent", traceparent(7, 5)), ("tracestate", b"vendor=1")]
    processed(spans, [Reported(b"", 41, partition=3, headers=headers)], {0: "indexed"})
    event, batch = kept.get_finished_spans()
    assert event.parent is not None
    assert (event.name, event.kind, event.status.is_ok) == ("process events", SpanKind.CONSUMER, True)
    assert (event.parent.trace_id, event.parent.span_id, event.parent.is_remote) == (7, 5, True)
    assert event.parent.trace_state.get("vendor") == "1"
    assert [link.context.span_id for link in event.links] == [batch.context.span_id]
    assert batch.start_time is not None
    assert event.start_time is not None
    assert event.end_time is not None
    assert batch.start_time <= event.start_time < event.end_time
    shared = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "events",
        "messaging.consumer.group.name": "group",
        "messaging.client.id": "client",
    }
    place = {"messaging.destination.partition.id": "3", "messaging.kafka.offset": 41}
    assert event.attributes == {**shared, **place, "activity_indexer.outcome": "indexed"}
    assert batch.attributes == {**shared, "messaging.batch.message_count": 1, "activity_indexer.events.indexed": 1}
    assert [dict(link.attributes or {}) for link in batch.links] == [place]
    assert batch.parent is None
    for span in (event, batch):
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_an_event_that_came_again_leads_to_what_failed_and_to_what_sent_it() -> None:
    spans, kept = tracing()
    headers = [
        ("traceparent", traceparent(7, 5)),
        ("replay-traceparent", traceparent(7, 8)),
        ("replay-dead-letter-traceparent", traceparent(7, 6)),
    ]
    processed(spans, [Reported(b"", headers=headers)], {0: "indexed"})
    event, batch = kept.get_finished_spans()
    reported = {(link.attributes or {}).get("activity_indexer.link"): link.context.span_id for link in event.links}
    assert reported == {None: batch.context.span_id, "replay": 8, "dead_letter": 6}


def test_a_dead_letter_of_a_sampled_event_is_sent_by_a_span_of_its_own() -> None:
    spans, kept = tracing()
    with spans.batch([record(0)], trace_contexts([record(0)])) as trace:
        reported = trace.dead_letter(0)
        trace.settled({0: "dead_lettered"}, {0: "invalid_json"})
    sending, event, _ = kept.get_finished_spans()
    assert reported == traceparent(1, sending.context.span_id)
    assert sending.parent == event.context
    assert (sending.name, sending.kind) == ("send events.dlq", SpanKind.PRODUCER)
    assert (sending.attributes or {})["messaging.destination.name"] == "events.dlq"
    assert (event.attributes or {})["error.type"] == "invalid_json"
    assert (event.attributes or {})["activity_indexer.outcome"] == "dead_lettered"
    assert not event.status.is_ok


def test_stages_are_parts_of_the_batch_and_calls_are_parts_of_stages() -> None:
    spans, kept = tracing()
    with spans.batch([], {}) as trace, trace.stage("settle"), spans.call("send", {"messaging.system": "kafka"}) as call:
        call.notify({"more": 1})
    sending, stage, batch = kept.get_finished_spans()
    assert (stage.name, sending.name) == ("settle", "send")
    assert (stage.parent, sending.parent) == (batch.context, stage.context)
    assert (sending.kind, sending.attributes) == (SpanKind.PRODUCER, {"messaging.system": "kafka", "more": 1})


def test_only_our_own_errors_are_reported_in_their_words() -> None:
    """Those of others may hold what an event says."""
    spans, kept = tracing()
    for error in (Unavailable("Redis is unavailable"), ValueError("4111 1111 1111 1111")):
        with spans.batch([], {}), suppress(Exception), spans.call("MGET", {}):
            raise error
    calls = [span for span in kept.get_finished_spans() if span.name == "MGET"]
    assert [call.status.description for call in calls] == ["Redis is unavailable", None]


def test_what_was_given_up_is_counted() -> None:
    spans, kept = tracing()
    processed(spans, [record(at, sampled=None) for at in range(3)], {0: "indexed"})
    (batch,) = kept.get_finished_spans()
    assert (batch.attributes or {})["activity_indexer.events.given_up"] == 2


def test_an_event_that_was_given_up_is_an_error() -> None:
    spans, kept = tracing()
    processed(spans, [record(0)], {})
    event = kept.get_finished_spans()[0]
    assert event.attributes is not None
    assert (event.attributes["error.type"], event.status.is_ok) == ("given_up", False)


def test_log_lines_within_a_batch_carry_its_ids_and_none_afterwards() -> None:
    spans, kept = tracing()
    with spans.batch([record(0)], trace_contexts([record(0)])) as trace:
        batch = get_contextvars()
        with trace.event(0):
            assert get_contextvars()["trace_id"] == f"{1:032x}"
        assert get_contextvars() == batch
    assert batch["span_id"] == f"{kept.get_finished_spans()[-1].context.span_id:016x}"
    assert get_contextvars() == {}


def test_a_dead_letter_of_an_event_without_a_trace_names_the_batch() -> None:
    spans, kept = tracing()
    with spans.batch([record(0, sampled=None)], {}) as trace:
        reported = trace.dead_letter(0)
    (batch,) = kept.get_finished_spans()
    assert reported == traceparent(batch.context.trace_id, batch.context.span_id)


def test_a_call_that_fails_is_an_error_and_one_outside_of_a_batch_is_not_recorded() -> None:
    spans, kept = tracing()
    with spans.call("MGET", {}):
        assert names(kept) == []
    with spans.batch([], {}), pytest.raises(Unavailable), spans.call("MGET", {"db.system.name": "redis"}):
        raise Unavailable("away")
    call, _ = kept.get_finished_spans()
    assert call.attributes is not None
    assert (call.attributes["error.type"], call.status.is_ok) == ("Unavailable", False)


class _Stuck(SpanExporter):
    """A collector that never answers, until the test says so."""

    def __init__(self) -> None:
        import threading

        self.answer, self.asked = threading.Event(), threading.Event()

    def export(self, spans: object) -> SpanExportResult:
        self.asked.set()
        self.answer.wait(5)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.answer.set()


def test_a_full_queue_drops_spans_and_never_waits() -> None:
    reported: list[tuple[str, int]] = []
    stuck = _Stuck()
    export = Export(stuck, 4, lambda outcome, count: reported.append((outcome, count)))
    spans, kept = tracing()
    processed(spans, [record(0)], {0: "indexed"})
    span: ReadableSpan = kept.get_finished_spans()[0]
    for _ in range(20):
        export.on_end(span)
    assert reported.count(("dropped", 1)) >= 20 - 2 * 4
    stuck.answer.set()
    export._batches.shutdown()


class _Answering(SpanExporter):
    """A collector that takes spans, or does not."""

    takes = False

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS if self.takes else SpanExportResult.FAILURE


def test_what_the_collector_refuses_is_counted_as_failed_and_reported_once() -> None:
    reported: list[tuple[str, int]] = []
    answering = _Answering()
    counting = ReportedExporter(answering, "tracing", lambda outcome, count: reported.append((outcome, count)))
    with capture_logs() as logs:
        for takes in (False, False, True, False):
            answering.takes = takes
            counting.export([_span()] * 2)
    counting.shutdown()
    assert reported == [("failed", 2), ("failed", 2), ("exported", 2), ("failed", 2)]
    assert [line["event"] for line in logs] == ["spans.export_failed", "spans.export_recovered", "spans.export_failed"]


async def test_what_is_left_at_the_end_is_counted_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "STOP_TIMEOUT", 0.05)
    reported: list[tuple[str, int]] = []
    stuck = _Stuck()
    export = Export(stuck, 8, lambda outcome, count: reported.append((outcome, count)))
    for _ in range(8):
        export.on_end(_span())
    await asyncio.to_thread(stuck.asked.wait, 5)
    for _ in range(3):
        export.on_end(_span())
    await export.stop()
    assert reported == [("dropped", 3)]
    stuck.answer.set()
    export._batches.shutdown()


@pytest.mark.parametrize(("limit", "links"), [({}, 300), ({"OTEL_SPAN_LINK_COUNT_LIMIT": "200"}, 200)])
def test_a_batch_has_no_more_links_than_the_setting_says(
    monkeypatch: pytest.MonkeyPatch, limit: dict[str, str], links: int
) -> None:
    monkeypatch.delenv("OTEL_SPAN_LINK_COUNT_LIMIT", raising=False)
    for name, value in limit.items():
        monkeypatch.setenv(name, value)
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept)
    provider = exporting.tracer_provider(load_settings().otel, Resource({}), processor)
    spans = Spans(provider, processor, Consumed("events", "group", "client"), "1")
    processed(spans, [record(at) for at in range(300)], dict.fromkeys(range(300), "indexed"))
    assert len(kept.get_finished_spans()[-1].links) == links


def test_an_instance_of_the_service_is_distinguished_from_others() -> None:
    reported = exporting.resource_of(load_settings().otel, "1.2", "pod-7").attributes
    wanted = {"service.name": "activity-indexer", "service.version": "1.2", "service.instance.id": "pod-7"}
    assert reported.items() >= wanted.items()


def test_what_users_say_about_the_resource_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=mine,team=feed")
    reported = exporting.resource_of(load_settings().otel, "1.2", "pod-7").attributes
    assert (reported["service.instance.id"], reported["team"], reported["service.version"]) == ("mine", "feed", "1.2")


def _span() -> ReadableSpan:
    spans, kept = tracing()
    processed(spans, [record(0)], {0: "indexed"})
    return kept.get_finished_spans()[0]


def test_without_tracing_a_batch_has_nothing_and_nothing_is_imported() -> None:
    assert UntracedBatch().dead_letter(0) is None
    program = (
        "import sys; from activity_indexer.settings import load_settings;"
        "from activity_indexer.telemetry.open_telemetry import OpenTelemetry;"
        "print(type(OpenTelemetry(load_settings()).indexer()).__name__,"
        " any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout.split() == ["Untraced", "False"]
