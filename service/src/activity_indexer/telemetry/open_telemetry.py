"""Turns OpenTelemetry on where the settings ask for it; where they do not, nothing of it is imported here."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from activity_indexer.reports import Emit, SpansExported, unreported
from activity_indexer.settings import Settings
from activity_indexer.tracing import Tracing, Untraced

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from activity_indexer.telemetry.tracing.exporting import Export
    from activity_indexer.telemetry.tracing.spans import Spans

Report = Callable[[str, int], None]


class OpenTelemetry:
    """What traces the indexer and its audit, each by its group, and sends the metrics if any; made in a loop."""

    def __init__(self, settings: Settings, emit: Emit = unreported, registry: CollectorRegistry | None = None) -> None:
        self._settings = settings
        self._metrics: asyncio.Task[None] | None = None
        self._export: Export | None = None
        self._provider: TracerProvider | None = None
        self._version = version("activity-indexer")
        if settings.otel.traces:
            self._open(from_any_thread(asyncio.get_running_loop(), emit))
        if settings.otel.metrics and registry:
            self._send(registry)

    def indexer(self) -> Tracing:
        """Spans of the indexer."""
        kafka = self._settings.kafka
        topic, group = kafka.transactions_topic, kafka.consumer_group
        return self.spans(topic, group, kafka.client_id, kafka.dead_letters) or Untraced()

    def audit(self) -> Tracing:
        """Spans of the audit."""
        kafka = self._settings.kafka
        return self.spans(kafka.transactions_topic, kafka.audit_group, f"{kafka.client_id}.audit") or Untraced()

    def spans(self, topic: str, group: str, client: str, dead_letters: str = "") -> Spans | None:
        """Spans of what this group consumes; None where tracing is off."""
        if self._provider is None or self._export is None:
            return None
        from activity_indexer.telemetry.tracing.spans import Consumed, Spans  # noqa: PLC0415 - only where tracing is on

        return Spans(self._provider, self._export, Consumed(topic, group, client, dead_letters), self._version)

    async def stop(self) -> None:
        """Send what is left, for a moment."""
        if self._metrics is not None:
            self._metrics.cancel()
            await asyncio.wait({self._metrics})
        if self._export is not None:
            await self._export.stop()

    def _open(self, report: Report) -> None:
        from activity_common.otlp import span_exporter  # noqa: PLC0415 - only where tracing is on
        from activity_indexer.telemetry.tracing import exporting  # noqa: PLC0415

        otel = self._settings.otel
        protocol = otel.exporter_otlp_traces_protocol or otel.exporter_otlp_protocol
        self._export = exporting.Export(span_exporter(protocol), otel.bsp_max_queue_size, report)
        resource = exporting.resource_of(otel, self._version, instance_id())
        self._provider = exporting.tracer_provider(otel, resource, self._export)

    def _send(self, registry: CollectorRegistry) -> None:
        from activity_indexer.telemetry.metrics import otlp as otlp_metrics  # noqa: PLC0415 - only where it is asked for
        from activity_indexer.telemetry.tracing import exporting  # noqa: PLC0415 - only where it is asked for

        otel = self._settings.otel
        resource = exporting.resource_of(otel, self._version, instance_id())
        exporter = otlp_metrics.metric_exporter(otel)
        interval = otel.metric_export_interval / 1000
        export = otlp_metrics.MetricsExport(registry, exporter, resource, interval)
        self._metrics = asyncio.create_task(export.run())


def instance_id() -> str:
    """This process among its like: a pod's name is its host's."""
    return f"{socket.gethostname()}-{os.getpid()}"


def from_any_thread(loop: asyncio.AbstractEventLoop, emit: Emit) -> Report:
    """Reports in the loop's thread what happens in another; nothing once the loop is closed."""

    def report(outcome: str, count: int) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(emit, SpansExported(outcome, count))

    return report
