"""Sends spans to a collector by OTLP, without ever blocking the operator. Imported only where tracing is on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Final, cast

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from activity_indexer_operator.settings import Settings
from activity_indexer_operator.tracing.protocol import OUTCOME
from activity_indexer_operator.tracing.spans import IDLE, Spans

log = structlog.get_logger(__name__)

STOP_TIMEOUT: Final = 3.0
"""Time that the last spans have at the end (seconds)."""
SERVICE: Final = "activity-indexer-operator"


class ExportedSpans(Spans):
    """tracing.Tracing: the spans go to a collector."""

    def __init__(self, settings: Settings, exporter: SpanExporter) -> None:
        self._batches: SpanProcessor = BatchSpanProcessor(LoggedOnce(exporter))
        resource = resource_of(settings.identity, version("activity-indexer"))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BusyOnly(self._batches))
        super().__init__(provider, self._batches, version("activity-indexer"))

    async def stop(self) -> None:
        """See tracing.Tracing; what the collector does not take by then is lost."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._batches.shutdown()
            with suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="spans.stop", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), STOP_TIMEOUT)


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


class LoggedOnce(SpanExporter):
    """Logs once when the collector takes no spans, and once when it takes them again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False
        self._lines = ExporterLog()
        self._lines.listen()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans; called by the thread that empties the queue."""
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            log.warning("spans.export_failed", reason=self._lines.last, spans=len(spans))
        elif self._failing and not failed:
            log.info("spans.export_recovered")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Aborts an export under way."""
        self._exporter.shutdown()
        self._lines.leave()


class ExporterLog(logging.Handler):
    """Holds back the exporters' log lines, and keeps the last one for ours."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "the collector does not answer"
        self._logger = logging.getLogger("opentelemetry.exporter")

    def listen(self) -> None:
        """Holds the exporters' lines back from now on."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def leave(self) -> None:
        """Passes the exporters' lines on again."""
        self._logger.removeHandler(self)
        self._logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """No line is shown."""
        self.last = record.getMessage()


def open_tracing(settings: Settings) -> ExportedSpans:
    """Spans by the standard variables: what the settings do not name, the SDK reads itself."""
    return ExportedSpans(settings, span_exporter(settings.traces_protocol))


def span_exporter(protocol: str) -> SpanExporter:
    """The exporter for `grpc` or `http/protobuf`."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc  # noqa: PLC0415

        return cast("SpanExporter", Grpc())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http  # noqa: PLC0415

    return Http()


def resource_of(identity: str, release: str) -> Resource:
    """The resource of our spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = {"service.name": SERVICE, "service.version": release, "service.instance.id": identity}
    return Resource.create(ours).merge(OTELResourceDetector().detect())
