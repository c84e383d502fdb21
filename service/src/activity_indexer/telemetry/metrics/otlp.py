"""Sends the metrics of /metrics by OTLP: the same registry in another form. Imported only where it is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Final, cast

import structlog
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from activity_common.otlp import STOP_TIMEOUT, ExporterLog
from activity_common.threads import in_thread
from activity_indexer.settings import OpenTelemetrySettings

UNITS: Final = {"seconds": "s", "bytes": "By"}
CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


def metric_exporter(settings: OpenTelemetrySettings) -> MetricExporter:
    """The exporter of the protocol that is set; it reads the other OTEL_EXPORTER_OTLP_ variables itself."""
    if (settings.exporter_otlp_metrics_protocol or settings.exporter_otlp_protocol) == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc  # noqa: PLC0415

        return cast("MetricExporter", Grpc())
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http  # noqa: PLC0415

    return Http()


class MetricsExport:
    """Sends the registry each `interval` (seconds). It is read in the loop's thread and sent in another."""

    def __init__(
        self,
        registry: CollectorRegistry,
        exporter: MetricExporter,
        resource: Resource,
        interval: float,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._registry = registry
        self._exporter = exporter
        self._resource = resource
        self._interval = interval
        self._clock = clock
        self._began = clock()
        self._failing = False
        self._complaints = ExporterLog()
        self._log = structlog.get_logger("activity_indexer.metrics")

    async def run(self) -> None:
        """Send for ever, to be cancelled at the end; then the last values are sent, for a moment."""
        self._complaints.listen()
        try:
            while True:
                await asyncio.sleep(self._interval)
                await self.send()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.send()
            self._complaints.leave()

    async def send(self) -> None:
        """Send the values of now; a collector that is unavailable is reported once."""
        data = self.data()
        result = await in_thread("metrics.send", partial(self._exporter.export, data))
        failed = result is not MetricExportResult.SUCCESS
        if failed and not self._failing:
            self._log.warning("metrics.export_failed", reason=self._complaints.last)
        elif self._failing and not failed:
            self._log.info("metrics.export_recovered")
        self._failing = failed

    def data(self) -> MetricsData:
        """The registry's values of now."""
        now = self._clock()
        metrics = [metric for family in self._registry.collect() for metric in converted(family, self._began, now)]
        scope = ScopeMetrics(InstrumentationScope("activity_indexer"), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])


def converted(family: Family, began: int, now: int) -> Iterator[Metric]:
    """A family of Prometheus as OpenTelemetry has it: names without `_total`, which collectors add again.

    `began` and `now` are in nanoseconds since the epoch.
    """
    unit = UNITS.get(family.unit, "1" if not family.unit else f"{{{family.unit}}}")
    if family.type == "histogram" and family.samples:
        points = [_distribution(labels, samples, began, now) for labels, samples in _by_labels(family.samples)]
        yield Metric(family.name, family.documentation, unit, Histogram(points, CUMULATIVE))
        return
    numbers = [
        NumberDataPoint(each.labels, began, now, float(each.value))
        for each in family.samples
        if not each.name.endswith("_created")
    ]
    if not numbers:
        return
    value = Sum(numbers, CUMULATIVE, is_monotonic=True) if family.type == "counter" else Gauge(numbers)
    yield Metric(family.name, family.documentation, unit, value)


def _by_labels(samples: Iterable[Sample]) -> Iterator[tuple[Mapping[str, str], list[Sample]]]:
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        found.setdefault(labels, []).append(sample)
    for key, some in found.items():
        yield dict(key), some


def _distribution(labels: Mapping[str, str], samples: Iterable[Sample], began: int, now: int) -> HistogramDataPoint:
    """Cumulative buckets with upper limits become counts between limits."""
    some = list(samples)
    buckets = [(float(each.labels["le"]), int(each.value)) for each in some if each.name.endswith("_bucket")]
    total = next((each.value for each in some if each.name.endswith("_sum")), 0.0)
    cumulative = [0, *(count for _, count in buckets)]
    return HistogramDataPoint(
        attributes=dict(labels),
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=cumulative[-1],
        sum=total,
        bucket_counts=[after - before for before, after in pairwise(cumulative)],
        explicit_bounds=[limit for limit, _ in buckets[:-1]],
        min=None,  # type: ignore[arg-type]  # not known, and optional in the protocol
        max=None,  # type: ignore[arg-type]
    )
