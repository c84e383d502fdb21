"""Sends spans to a collector by OTLP, without ever holding the program up. Imported only where tracing is on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

STOP_TIMEOUT: Final = 3.0
"""Time that the last spans have at the end (seconds)."""

Report = Callable[[str, int], None]
"""Called with the number of spans that were `exported`, `failed` or `dropped`, from any thread."""


def span_exporter(protocol: str) -> SpanExporter:
    """The exporter for `grpc` or `http/protobuf`; it reads the other OTEL_EXPORTER_OTLP_ variables itself."""
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc  # noqa: PLC0415

        return cast("SpanExporter", Grpc())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http  # noqa: PLC0415

    return Http()


class ReportedExporter(SpanExporter):
    """Counts what an exporter does, and logs once when it fails and once when it works again."""

    def __init__(self, exporter: SpanExporter, logger: str, report: Report = lambda _outcome, _count: None) -> None:
        self.taken = 0
        self._exporter = exporter
        self._report = report
        self._failing = False
        self._complaints = ExporterLog()
        self._complaints.listen()
        self._log: Any = structlog.get_logger(logger)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called by the thread that empties the queue."""
        self.taken += len(spans)
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        self._report("failed" if failed else "exported", len(spans))
        if failed and not self._failing:
            self._log.warning("spans.export_failed", reason=self._complaints.last, spans=len(spans))
        elif self._failing and not failed:
            self._log.info("spans.export_recovered")
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()
        self._complaints.leave()


class ExporterLog(logging.Handler):
    """Keeps the exporters' complaints for our own line, in place of a line for each."""

    def __init__(self) -> None:
        super().__init__()
        self.last = "the collector does not answer"
        self._logger = logging.getLogger("opentelemetry.exporter")

    def listen(self) -> None:
        """Take the exporters' lines from now on."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def leave(self) -> None:
        """Let the exporters log again, once nothing else listens."""
        self._logger.removeHandler(self)
        self._logger.propagate = not any(isinstance(each, ExporterLog) for each in self._logger.handlers)

    def emit(self, record: logging.LogRecord) -> None:
        """No line is shown."""
        self.last = record.getMessage()
