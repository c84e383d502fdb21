"""Spans without a collector; the integration tests look at what one receives."""

import subprocess
import sys

import pytest
from core_support import Told
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, ParentBasedTraceIdRatio, Sampler, TraceIdRatioBased
from structlog.contextvars import get_contextvars

from activity_indexer.errors import Unavailable
from activity_indexer.telemetry.exporting import Export, LinkedSampler
from activity_indexer.telemetry.spans import Consumed, Spans
from activity_indexer.trace_context import trace_contexts, traceparent
from activity_indexer.tracing import UntracedBatch

NEVER = ParentBasedTraceIdRatio(0.0)


def tracing(sampler: Sampler = DEFAULT_ON) -> tuple[Spans, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept)
    provider = TracerProvider(LinkedSampler(sampler), Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Spans(provider, processor, Consumed("events", "group", "client", "events.dlq"), "1"), kept


def record(offset: int, *, sampled: bool | None = True) -> Told:
    """An event of trace number offset + 1; None: of no trace."""
    header = traceparent(offset + 1, 5)
    headers = [] if sampled is None else [("traceparent", header if sampled else header[:-2] + b"00")]
    return Told(b"", offset, headers=headers)


def processed(spans: Spans, records: list[Told], outcomes: dict[int, str]) -> None:
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
        told = trace.dead_letter(0)
    (batch,) = kept.get_finished_spans()
    assert told == traceparent(batch.context.trace_id, batch.context.span_id)


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

        self.answer = threading.Event()

    def export(self, spans: object) -> SpanExportResult:
        self.answer.wait(5)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.answer.set()


def test_a_full_queue_drops_spans_and_never_waits() -> None:
    told: list[tuple[str, int]] = []
    stuck = _Stuck()
    export = Export(stuck, 4, lambda outcome, count: told.append((outcome, count)))
    spans, kept = tracing()
    processed(spans, [record(0)], {0: "indexed"})
    span: ReadableSpan = kept.get_finished_spans()[0]
    for _ in range(20):
        export.on_end(span)
    assert told.count(("dropped", 1)) >= 20 - 2 * 4
    stuck.answer.set()
    export._batches.shutdown()


def test_without_tracing_a_batch_has_nothing_and_nothing_is_imported() -> None:
    assert UntracedBatch().dead_letter(0) is None
    program = (
        "import sys; from activity_indexer.settings import load_settings;"
        "from activity_indexer.telemetry.tracing import OpenTelemetry;"
        "print(type(OpenTelemetry(load_settings()).indexer()).__name__,"
        " any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout.split() == ["Untraced", "False"]
