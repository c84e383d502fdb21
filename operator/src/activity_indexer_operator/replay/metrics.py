"""What Prometheus is told of replays: counted anew at each scrape from what the watches have shown last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final, get_args

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from activity_indexer_operator.kube.cache import Seen
from activity_indexer_operator.kube.objects import Body
from activity_indexer_operator.kube.resources import INDEXERS, REPLAYS
from activity_indexer_operator.replay.model import BAD_ENDS, GOOD_ENDS, Phase, Replay, parse_replay
from activity_indexer_operator.tasks.cron import parse_time
from activity_indexer_operator.tasks.model import parse_task_status
from activity_indexer_operator.tasks.schedules import SCHEDULE_CONDITION, ScheduleReason

PREFIX: Final = "activity_indexer_operator"
PHASES: Final[tuple[str, ...]] = get_args(Phase)
OUTCOMES: Final = (*GOOD_ENDS, *BAD_ENDS)
"""Phases that a replay ends in."""
UNDER_WAY: Final = ("Planning", "Running")


class ReplayMetrics(Collector):
    """Gauges of replays by namespace, and of schedules by indexer; none while `leading` says no.

    Only who does the work tells of it: what several operators tell would be counted several times.
    """

    def __init__(
        self,
        seen: Seen,
        leading: Callable[[], bool],
        now: Callable[[], datetime] = partial(datetime.now, UTC),  # noqa: B008 - a function
    ) -> None:
        self._seen = seen
        self._leading = leading
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """The names, without a look."""
        yield from _families()

    def collect(self) -> Iterable[Metric]:
        """What there is now."""
        replays, oldest, failures, stopped = families = _families()
        if self._leading():
            self._add_replays(replays, oldest)
            for body in self._seen.everywhere(INDEXERS):
                _add_schedule(body, failures, stopped)
        return families

    def _add_replays(self, replays: GaugeMetricFamily, oldest: GaugeMetricFamily) -> None:
        known = [parse_replay(body) for body in self._seen.everywhere(REPLAYS)]
        for namespace, own in _by_namespace(known):
            counts: Counter[str] = Counter(replay.status.phase or "Pending" for replay in own)
            for phase in PHASES:
                replays.add_metric([namespace, phase], counts[phase])
            oldest.add_metric([namespace], max((self._age(replay) for replay in own), default=0.0))

    def _age(self, replay: Replay) -> float:
        """Seconds since it began, while its Job is under way; 0 else."""
        start = replay.status.start_time
        if start is None or replay.status.phase not in UNDER_WAY:
            return 0.0
        return max(0.0, (self._now() - parse_time(start)).total_seconds())


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    indexer = ("namespace", "name")
    return (
        GaugeMetricFamily(f"{PREFIX}_replays", "DeadLetterReplays by phase.", labels=("namespace", "phase")),
        GaugeMetricFamily(
            f"{PREFIX}_replay_oldest_running_seconds",
            "Time since the oldest replay whose Job is under way began; 0 when there is none.",
            labels=("namespace",),
        ),
        GaugeMetricFamily(
            f"{PREFIX}_indexer_schedule_failures", "Replays of the schedule that failed in a row.", labels=indexer
        ),
        GaugeMetricFamily(
            f"{PREFIX}_indexer_schedule_stopped",
            "1 while the schedule makes no more replays, because too many failed in a row.",
            labels=indexer,
        ),
    )


def _by_namespace(replays: Iterable[Replay]) -> Iterator[tuple[str, list[Replay]]]:
    groups: dict[str, list[Replay]] = {}
    for replay in replays:
        groups.setdefault(replay.meta.key.namespace, []).append(replay)
    yield from sorted(groups.items())


def _add_schedule(body: Body, failures: GaugeMetricFamily, stopped: GaugeMetricFamily) -> None:
    status = parse_task_status(body, (SCHEDULE_CONDITION,))
    schedule = status.dead_letter.schedule
    if schedule is None:
        return
    labels = [body["metadata"]["namespace"], body["metadata"]["name"]]
    failures.add_metric(labels, schedule.failures)
    stopped.add_metric(labels, any(each.reason == ScheduleReason.STOPPED for each in status.conditions))
