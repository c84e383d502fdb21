"""Spans by OpenTelemetry's SDK. Imported only where tracing is on.

Names and attributes follow the semantic conventions for messaging and databases, version 1.44.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, StaticSampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from structlog.contextvars import bound_contextvars

from activity_common.dead_letter_headers import REPLAY_FAILED_TRACEPARENT, REPLAY_TRACEPARENT
from activity_common.trace_context import TraceContext, trace_context, traceparent
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.ports import Record
from activity_indexer.tracing import Attributes, BatchTrace, Call, UntracedBatch

SCOPE: Final = "activity_indexer"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
LINKED_HEADERS: Final = {REPLAY_TRACEPARENT: "replay", REPLAY_FAILED_TRACEPARENT: "dead_letter"}
"""Headers of an event that was replayed, beside its producer's: the spans that sent it, and that dead-lettered it."""

OUTCOME: Final = "activity_indexer.outcome"
GIVEN_UP: Final = "given_up"
FAILED: Final = frozenset({"dead_lettered", "rejected", GIVEN_UP})
"""Outcomes that are errors."""

_NOTHING: Final = nullcontext()
_UNTRACED: Final = UntracedBatch()


@dataclass(frozen=True, slots=True)
class Consumed:
    """What is consumed, by whom, and where its dead letters go (empty: nowhere)."""

    topic: str
    group: str
    client: str
    dead_letters: str = ""

    def attributes(self) -> dict[str, Any]:
        """What every span of the consumer says."""
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": self.topic,
            "messaging.consumer.group.name": self.group,
            "messaging.client.id": self.client,
        }


class Spans:
    """tracing.Tracing: what it makes goes to `processor`, which must neither wait nor raise."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor, consumed: Consumed, version: str) -> None:
        self.consumed = consumed
        self._provider = provider
        self._processor = processor
        self._tracer = provider.get_tracer(SCOPE, version, SCHEMA_URL)
        self._scope = InstrumentationScope(SCOPE, version, SCHEMA_URL)
        self.attributes = consumed.attributes()
        self._alike = isinstance(getattr(provider.sampler, "inner", None), ParentBased | StaticSampler)
        self._ids = RandomIdGenerator()

    @contextmanager
    def batch(self, records: Sequence[Record], contexts: Mapping[int, TraceContext]) -> Iterator[BatchTrace]:
        """The span of a batch, with links to those of its events that are sampled."""
        origins = {at: remote(context) for at, context in contexts.items() if context.sampled}
        span = self._tracer.start_span(
            f"process {self.consumed.topic}",
            Context(),  # a batch has many origins: they are links, and it begins a trace of its own
            SpanKind.CONSUMER,
            {**self.attributes, "messaging.batch.message_count": len(records)},
            [Link(origin, place(records[at])) for at, origin in origins.items()],
        )
        if not span.is_recording():
            yield _UNTRACED
            return
        with trace.use_span(span, end_on_exit=True, record_exception=False), _logged(span.get_span_context()):
            yield _Batch(self, span, records, origins)

    @contextmanager
    def whole(
        self, name: str, parent: SpanContext | None, count: int, attributes: Attributes, links: Sequence[Link]
    ) -> Iterator[SpanContext | None]:
        """The sending of many events at once: part of the caller's trace, else one of its own."""
        within = Context() if parent is None else trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
        reported = {**attributes, "messaging.batch.message_count": count}
        span = self._tracer.start_span(name, within, SpanKind.PRODUCER, reported, links)
        context = span.get_span_context() if span.is_recording() else None
        with trace.use_span(span, end_on_exit=True, record_exception=False):
            yield context

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A part of a batch's time."""
        with self._tracer.start_as_current_span(name, record_exception=False):
            yield

    @contextmanager
    def call(self, name: str, attributes: Attributes) -> Iterator[Call]:
        """A call to a server, where it is part of something that is recorded."""
        if not trace.get_current_span().is_recording():
            yield _UNTRACED
            return
        kind = SpanKind.PRODUCER if "messaging.system" in attributes else SpanKind.CLIENT
        started = self._tracer.start_as_current_span(
            name, None, kind, attributes, record_exception=False, set_status_on_exception=False
        )
        with started as span:
            try:
                yield _Call(span)
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR, str(error) if isinstance(error, ActivityIndexerError) else None)
                raise

    def new_span(self, trace_id: int) -> SpanContext:
        """A span that is reported when it is over."""
        return SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=SAMPLED)

    def finished(
        self,
        name: str,
        span: SpanContext,
        parent: SpanContext,
        times: tuple[int, int],
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.CONSUMER,
        links: Sequence[Link] = (),
        error: str = "",
    ) -> None:
        """Report a span that is over; `times` are its begin and end (nanoseconds since the epoch)."""
        self._processor.on_end(
            ReadableSpan(
                name,
                span,
                parent,
                self._provider.resource,
                {**attributes, "error.type": error} if error else attributes,
                links=links,
                kind=kind,
                status=Status(StatusCode.ERROR) if error else Status(),
                start_time=times[0],
                end_time=times[1],
                instrumentation_scope=self._scope,
            )
        )

    def sampled(self, origins: Mapping[int, SpanContext]) -> Mapping[int, SpanContext]:
        """Those of the origins whose events get a span; most samplers answer alike for all that are sampled."""
        if self._alike and origins:
            return origins if self.samples(next(iter(origins.values()))) else {}
        return {at: origin for at, origin in origins.items() if self.samples(origin)}

    def samples(self, origin: SpanContext) -> bool:
        """Whether OTEL_TRACES_SAMPLER lets a span be recorded whose parent is sampled."""
        parent = trace.set_span_in_context(trace.NonRecordingSpan(origin), Context())
        name = f"process {self.consumed.topic}"
        result = self._provider.sampler.should_sample(parent, origin.trace_id, name, SpanKind.CONSUMER)
        return result.decision is Decision.RECORD_AND_SAMPLE


class _Batch:
    """tracing.BatchTrace: the spans of events are reported at the end, when it is known what became of them."""

    def __init__(self, spans: Spans, span: Span, records: Sequence[Record], origins: Mapping[int, SpanContext]) -> None:
        self._spans = spans
        self._span = span
        self._records = records
        self._started = time.time_ns()
        self._origins = spans.sampled(origins)
        self._events = {at: spans.new_span(origin.trace_id) for at, origin in self._origins.items()}
        self._sends: dict[int, tuple[SpanContext, int]] = {}
        context = span.get_span_context()
        self._traceparent = traceparent(context.trace_id, context.span_id)

    def stage(self, name: str) -> AbstractContextManager[object]:
        """A part of the batch's time."""
        return self._spans.stage(name)

    def event(self, at: int) -> AbstractContextManager[object]:
        """Log lines carry the ids of the event's own span."""
        event = self._events.get(at)
        return _NOTHING if event is None else _logged(event)

    def dead_letter(self, at: int) -> bytes | None:
        """The span that sends an event away: part of the event's own, else the batch's."""
        event = self._events.get(at)
        if event is None:
            return self._traceparent
        sending = self._spans.new_span(event.trace_id)
        self._sends[at] = sending, time.time_ns()
        return traceparent(sending.trace_id, sending.span_id)

    def settled(self, outcomes: Mapping[int, str], errors: Mapping[int, str]) -> None:
        """Report the events."""
        now = time.time_ns()
        for outcome, count in Counter(outcomes.values()).items():
            self._span.set_attribute(f"activity_indexer.events.{outcome}", count)
        if len(outcomes) < len(self._records):
            self._span.set_attribute(f"activity_indexer.events.{GIVEN_UP}", len(self._records) - len(outcomes))
        batch = Link(self._span.get_span_context())
        for at, event in self._events.items():
            outcome = outcomes.get(at, GIVEN_UP)
            error = errors.get(at, outcome) if outcome in FAILED else ""
            self._notify_event(at, event, batch, outcome, error, now)

    def _notify_event(self, at: int, event: SpanContext, batch: Link, outcome: str, error: str, now: int) -> None:
        record = self._records[at]
        consumed = self._spans.consumed
        if sent := self._sends.get(at):
            self._notify_sending(sent, event, now)
        self._spans.finished(
            f"process {consumed.topic}",
            event,
            self._origins[at],
            (self._started, now),
            {**self._spans.attributes, **place(record), OUTCOME: outcome},
            links=[batch, *earlier(record.headers)],
            error=error,
        )

    def _notify_sending(self, sent: tuple[SpanContext, int], event: SpanContext, now: int) -> None:
        sending, started = sent
        topic = self._spans.consumed.dead_letters
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
        }
        self._spans.finished(f"send {topic}", sending, event, (started, now), attributes, kind=SpanKind.PRODUCER)


@dataclass(frozen=True, slots=True)
class _Call:
    span: Span
    recorded = True

    def notify(self, attributes: Attributes) -> None:
        self.span.set_attributes(attributes)


def remote(context: TraceContext) -> SpanContext:
    """A context that came in a header."""
    state = TraceState.from_header([context.state.decode(errors="replace")]) if context.state else None
    trace_id, span_id = int(context.trace_id, 16), int(context.span_id, 16)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(context.flags), trace_state=state)


def place(record: Record) -> dict[str, Any]:
    """Where a record is. Its key is a user's id and is left out."""
    return {"messaging.destination.partition.id": str(record.partition), "messaging.kafka.offset": record.offset}


def earlier(headers: Sequence[tuple[str, bytes]]) -> list[Link]:
    """Links to what happened to an event before it came again."""
    return [
        Link(remote(context), {"activity_indexer.link": about})
        for name, about in LINKED_HEADERS.items()
        if (context := trace_context(headers, name)) is not None
    ]


def _logged(span: SpanContext) -> AbstractContextManager[None]:
    return bound_contextvars(trace_id=f"{span.trace_id:032x}", span_id=f"{span.span_id:016x}")
