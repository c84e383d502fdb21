"""Metrics of replays: counters, and gauges that each scrape counts from the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Count
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.resources import REPLAYS
from activity_indexer_operator.kube.time import parse_time
from activity_indexer_operator.replay.model import BAD_ENDS, GOOD_ENDS, Phase, Replay, parse_replay
from activity_indexer_operator.runtime.metrics import PREFIX

PHASES: Final[tuple[str, ...]] = get_args(Phase)
OUTCOMES: Final = (*GOOD_ENDS, *BAD_ENDS)
"""Phases that a replay ends in."""
UNDER_WAY: Final = ("Planning", "Running")


class ReplayCounters:
    """Replays that ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "Replays that ended, by how."
        self._finished = Count(f"{PREFIX}_replays_finished", text, ("namespace", "outcome"), registry=registry)

    def expect(self, namespace: str) -> None:
        """There are replays in a namespace: the counts of their ends begin at 0, so that the first is an increase."""
        for outcome in OUTCOMES:
            self._finished.labels(namespace, outcome)

    def finished(self, namespace: str, outcome: str) -> None:
        """A replay ended in this phase."""
        self._finished.labels(namespace, outcome).inc()


class ReplayMetrics(Collector):
    """Gauges of replays by namespace; none while `leading` is false, so that several operators count each once."""

    def __init__(
        self,
        cache: ObjectCache,
        leading: Callable[[], bool],
        now: Callable[[], datetime] = partial(datetime.now, UTC),  # noqa: B008 - a function
    ) -> None:
        self._cache = cache
        self._leading = leading
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """The names, without values."""
        yield from _families()

    def collect(self) -> Iterable[Metric]:
        """The values now."""
        replays, oldest = families = _families()
        if self._leading():
            self._add_replays(replays, oldest)
        return families

    def _add_replays(self, replays: GaugeMetricFamily, oldest: GaugeMetricFamily) -> None:
        by_namespace: dict[str, list[Replay]] = {}
        for body in self._cache.everywhere(REPLAYS):
            by_namespace.setdefault(body["metadata"]["namespace"], []).append(parse_replay(body))
        for namespace, own in sorted(by_namespace.items()):
            counts: Counter[str] = Counter(replay.status.phase or "Pending" for replay in own)
            for phase in PHASES:
                replays.add_metric([namespace, phase], counts[phase])
            oldest.add_metric([namespace], max(self._age(replay) for replay in own))

    def _age(self, replay: Replay) -> float:
        """Seconds since it began, while its Job is under way; 0 else."""
        start = replay.status.start_time
        if start is None or replay.status.phase not in UNDER_WAY:
            return 0.0
        return max(0.0, (self._now() - parse_time(start)).total_seconds())


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(f"{PREFIX}_replays", "DeadLetterReplays by phase.", labels=("namespace", "phase")),
        GaugeMetricFamily(
            f"{PREFIX}_replay_oldest_running_seconds",
            "Time since the oldest replay whose Job is under way began; 0 when there is none.",
            labels=("namespace",),
        ),
    )
