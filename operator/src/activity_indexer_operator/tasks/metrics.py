"""Gauges of replay schedules, which each scrape reads from the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.resources import INDEXERS
from activity_indexer_operator.runtime.metrics import LABELS, PREFIX
from activity_indexer_operator.tasks.model import parse_task_status
from activity_indexer_operator.tasks.schedules import SCHEDULE_CONDITION, ScheduleReason


class ScheduleMetrics(Collector):
    """Gauges of schedules by indexer; none while `leading` is false, so that several operators count each once."""

    def __init__(self, cache: ObjectCache, leading: Callable[[], bool]) -> None:
        self._cache = cache
        self._leading = leading

    def describe(self) -> Iterable[Metric]:
        """The names, without values."""
        yield from _families()

    def collect(self) -> Iterable[Metric]:
        """The values now."""
        failures, stopped = families = _families()
        for body in self._cache.everywhere(INDEXERS) if self._leading() else ():
            status = parse_task_status(body, (SCHEDULE_CONDITION,))
            if schedule := status.dead_letter.schedule:
                labels = [body["metadata"]["namespace"], body["metadata"]["name"]]
                failures.add_metric(labels, schedule.failures)
                stopped.add_metric(labels, any(each.reason == ScheduleReason.STOPPED for each in status.conditions))
        return families


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            f"{PREFIX}_indexer_schedule_failures", "Replays of the schedule that failed in a row.", labels=LABELS
        ),
        GaugeMetricFamily(
            f"{PREFIX}_indexer_schedule_stopped",
            "1 while the schedule has stopped, because too many failed in a row.",
            labels=LABELS,
        ),
    )
