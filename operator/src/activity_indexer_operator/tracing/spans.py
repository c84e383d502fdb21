"""Spans by OpenTelemetry's SDK. Imported only where tracing is on.

Names and attributes of calls follow the semantic conventions, version 1.44.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from activity_common.trace_context import TraceContext
from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.tracing.context import context_of
from activity_indexer_operator.tracing.protocol import (
    CURRENT,
    OUTCOME,
    UNTRACED,
    Attributes,
    Call,
    Pass,
    Recorded,
    ReplayEnd,
)

SCOPE: Final = "activity_indexer_operator"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
IDLE: Final = "idle"
"""Outcome of a pass that neither did nor logged anything."""
REPLAY: Final = "replay"


class Spans:
    """tracing.Tracing, but for the end; `processor` is the provider's, and must neither wait nor raise."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor, version: str) -> None:
        self._provider = provider
        self._processor = processor
        self._tracer = provider.get_tracer(SCOPE, version, SCHEMA_URL)
        self._scope = InstrumentationScope(SCOPE, version, SCHEMA_URL)

    @contextmanager
    def reconcile(self, key: Key) -> Iterator[Pass]:
        """See tracing.Tracing."""
        span = self._tracer.start_span(f"reconcile {key.kind}", Context(), attributes=_object(key))
        if not span.is_recording():
            yield UNTRACED
            return
        context = _stated(span.get_span_context())
        recorded = Recorded(context.trace_id.decode(), context.span_id.decode())
        token = CURRENT.set(recorded)
        done = _Span(span)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                yield done
        finally:
            CURRENT.reset(token)
            quiet = not recorded.noted and done.outcome in {"done", ""}
            span.set_attribute(OUTCOME, IDLE if quiet else done.outcome or "interrupted")
            span.end()

    @contextmanager
    def call(self, name: str, attributes: Attributes) -> Iterator[Call]:
        """See tracing.Tracing."""
        if not trace.get_current_span().is_recording():
            yield UNTRACED
            return
        started = self._tracer.start_as_current_span(
            name, None, SpanKind.CLIENT, attributes, record_exception=False, set_status_on_exception=False
        )
        with started as span:
            try:
                yield (call := _Span(span))
            except Exception as error:
                call.failed(type(error).__name__, str(error))
                raise

    def set_attributes(self, attributes: Attributes) -> None:
        """See tracing.Tracing."""
        trace.get_current_span().set_attributes(attributes)

    def link(self, other: TraceContext) -> None:
        """See tracing.Tracing."""
        trace.get_current_span().add_link(_context(other))

    def current(self) -> TraceContext | None:
        """See tracing.Tracing."""
        span = trace.get_current_span()
        return _stated(span.get_span_context()) if span.is_recording() else None

    def of_replay(self, uid: str) -> TraceContext | None:
        """See tracing.Tracing."""
        context = context_of(uid)
        answer = self._provider.sampler.should_sample(Context(), int(context.trace_id, 16), REPLAY, SpanKind.INTERNAL)
        return context_of(uid, sampled=answer.decision is Decision.RECORD_AND_SAMPLE)

    def replay_ended(self, end: ReplayEnd) -> None:
        """See tracing.Tracing."""
        own = TraceContext(end.trace_id.encode(), context_of(end.uid).span_id)
        self._processor.on_end(
            ReadableSpan(
                f"{REPLAY} {end.indexer}",
                _context(own),
                None,
                self._provider.resource,
                {**end.attributes, "error.type": end.error} if end.error else end.attributes,
                links=[Link(_context(end.maker))] if end.maker else [],
                kind=SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR, end.message) if end.error else Status(),
                start_time=int(end.begin.timestamp() * 1e9),
                end_time=int(end.end.timestamp() * 1e9),
                instrumentation_scope=self._scope,
            )
        )


class _Span:
    """tracing.Pass and tracing.Call."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.outcome = ""

    def failed(self, kind: str, message: str = "") -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR, message or None)

    def ended(self, outcome: str) -> None:
        self.outcome = outcome


def _object(key: Key) -> dict[str, str]:
    return {
        "k8s.namespace.name": key.namespace,
        "activity_indexer.object.kind": key.kind,
        "activity_indexer.object.name": key.name,
    }


def _stated(span: SpanContext) -> TraceContext:
    return TraceContext(b"%032x" % span.trace_id, b"%016x" % span.span_id, span.trace_flags)


def _context(reported: TraceContext) -> SpanContext:
    return SpanContext(
        int(reported.trace_id, 16), int(reported.span_id, 16), is_remote=True, trace_flags=TraceFlags(reported.flags)
    )
