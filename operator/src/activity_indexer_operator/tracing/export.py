"""Sends spans to a collector by OTLP, without ever blocking the operator. Imported only where tracing is on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.metadata import version
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from activity_common.otlp import STOP_TIMEOUT, ReportedExporter, span_exporter
from activity_common.threads import in_thread
from activity_indexer_operator.settings import Settings
from activity_indexer_operator.tracing.protocol import OUTCOME
from activity_indexer_operator.tracing.spans import IDLE, Spans

SERVICE: Final = "activity-indexer-operator"


class ExportedSpans(Spans):
    """tracing.Tracing: the spans go to a collector."""

    def __init__(self, settings: Settings, exporter: SpanExporter) -> None:
        self._batches: SpanProcessor = BatchSpanProcessor(ReportedExporter(exporter, __name__))
        resource = resource_of(settings.identity, version("activity-indexer"))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BusyOnly(self._batches))
        super().__init__(provider, self._batches, version("activity-indexer"))

    async def stop(self) -> None:
        """See tracing.Tracing; what the collector does not take by then is lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await in_thread("spans.stop", self._batches.shutdown)


class BusyOnly(SpanProcessor):
    """Lets a pass through with all that it is made of once it is over, or nothing of it where it was idle.

    Idle passes are nearly all there are: each object is looked at again and again, and mostly there is nothing to do.
    """

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner
        self._held: dict[int, list[ReadableSpan]] = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A pass begins."""
        if span.parent is None:
            self._held[span.context.trace_id] = []
        self._inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """A part of a pass is over, or the pass."""
        held = self._held.get(span.context.trace_id)
        if span.parent is not None and held is not None:
            held.append(span)
            return
        self._held.pop(span.context.trace_id, None)
        if (span.attributes or {}).get(OUTCOME) != IDLE:
            for each in (*(held or ()), span):
                self._inner.on_end(each)

    def shutdown(self) -> None:
        """Sends what is left."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Sends what waits."""
        return self._inner.force_flush(timeout_millis or 30_000)


def open_tracing(settings: Settings) -> ExportedSpans:
    """Spans by the standard variables: what the settings do not name, the SDK reads itself."""
    return ExportedSpans(settings, span_exporter(settings.traces_protocol))


def resource_of(identity: str, release: str) -> Resource:
    """The resource of our spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = {"service.name": SERVICE, "service.version": release, "service.instance.id": identity}
    return Resource.create(ours).merge(OTELResourceDetector().detect())
