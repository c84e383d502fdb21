"""Sends spans to a collector by OTLP, without ever holding the indexer up. Imported only where tracing is on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, TraceState, set_span_in_context
from opentelemetry.util.types import Attributes

from activity_common.otlp import STOP_TIMEOUT, Report, ReportedExporter
from activity_common.threads import in_thread
from activity_indexer.settings import OpenTelemetrySettings


class Export(SpanProcessor):
    """The way of finished spans: a bounded queue, a thread that empties it, an exporter that counts."""

    def __init__(self, exporter: SpanExporter, queue: int, report: Report) -> None:
        self._counting = ReportedExporter(exporter, "activity_indexer.tracing", report)
        self._batches = BatchSpanProcessor(self._counting, max_queue_size=queue, max_export_batch_size=min(512, queue))
        self._room = queue
        self._ended = 0
        self._report = report

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or drop it where the queue is full."""
        if self._ended - self._counting.taken >= self._room:
            self._report("dropped", 1)
            return
        self._ended += 1
        self._batches.on_end(span)

    async def stop(self) -> None:
        """Send what is left, for a moment; what the collector does not take by then is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                await in_thread("spans.stop", self._batches.shutdown)
        if left := self._ended - self._counting.taken:
            self._report("dropped", left)


class LinkedSampler(Sampler):
    """Decides of a batch as OTEL_TRACES_SAMPLER would of a span whose parent is one of the batch's sampled events.

    So a batch is recorded when one of its events is; without such an event it is a root like any other.
    """

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Ask the sampler of the settings."""
        if links and not parent_context:
            parent_context = set_span_in_context(NonRecordingSpan(links[0].context), parent_context)
        return self.inner.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """What it is made of."""
        return f"LinkedSampler({self.inner.get_description()})"


def tracer_provider(settings: OpenTelemetrySettings, resource: Resource, export: SpanProcessor) -> TracerProvider:
    """What makes spans; its sampler is that of OTEL_TRACES_SAMPLER."""
    limits = SpanLimits(max_links=settings.span_link_count_limit)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=limits)
    provider.sampler = LinkedSampler(provider.sampler)
    provider.add_span_processor(export)
    return provider


def resource_of(settings: OpenTelemetrySettings, version: str, instance: str) -> Resource:
    """Who we are; OTEL_RESOURCE_ATTRIBUTES overrides all but the name, which OTEL_SERVICE_NAME sets."""
    ours = {"service.version": version, "service.instance.id": instance}
    known = Resource.create({}).attributes
    asked = OTELResourceDetector().detect().attributes
    name = settings.service_name
    if "service_name" not in settings.model_fields_set and not str(known["service.name"]).startswith("unknown_service"):
        name = str(known["service.name"])
    return Resource({**known, **ours, **asked, "service.name": name})
