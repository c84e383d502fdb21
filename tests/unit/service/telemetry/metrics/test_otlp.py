"""The registry of /metrics in OpenTelemetry's form."""

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource

from activity_indexer.reports import BulkTook, DocumentsRetried, Subscribers
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.metrics.otlp import MetricsExport


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def sent(metrics: Metrics) -> Mapping[str, Any]:
    export = MetricsExport(metrics.registry, MetricExporter, Resource({}), 1.0)  # type: ignore[arg-type, type-abstract]
    return {each.name: each for each in export.data().resource_metrics[0].scope_metrics[0].metrics}


def test_every_family_with_values_is_sent_and_no_other(metrics: Metrics) -> None:
    shown = {family.name for family in metrics.registry.collect() if family.samples}
    assert sent(metrics).keys() == shown


def test_counters_are_cumulative_and_only_grow(metrics: Metrics) -> None:
    Subscribers(metrics.indexer)(DocumentsRetried("unavailable", 3))
    found = sent(metrics)["activity_indexer_retries"]
    (point,) = found.data.data_points
    assert (point.value, point.attributes) == (3.0, {"reason": "unavailable"})
    assert (found.data.is_monotonic, found.unit) == (True, "1")
    assert point.start_time_unix_nano <= point.time_unix_nano


def test_a_histograms_buckets_hold_what_lies_between_their_limits(metrics: Metrics) -> None:
    for seconds in (0.0004, 0.03, 0.04, 100.0):
        Subscribers(metrics.indexer)(BulkTook(seconds))
    found = sent(metrics)["activity_indexer_bulk_took_seconds"]
    (point,) = found.data.data_points
    between = dict(zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True))
    assert {limit: count for limit, count in between.items() if count} == {0.0005: 1, 0.05: 2, float("inf"): 1}
    assert (point.count, found.unit) == (4, "s")
    assert point.sum == pytest.approx(100.0704)
