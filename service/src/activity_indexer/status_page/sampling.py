"""Takes samples of the metrics, as long as the port is open."""

from __future__ import annotations

import asyncio
import time

from activity_indexer.status_page.history import INTERVAL, History, Sample
from activity_indexer.telemetry.metrics import Metrics


async def keep_sampling(metrics: Metrics, history: History, interval: float = INTERVAL) -> None:
    """Add a sample every `interval` seconds, the first at once; to be run as a task and cancelled at the end."""
    while True:
        history.add(sample(metrics, time.time()))
        await asyncio.sleep(interval)


def sample(metrics: Metrics, at: float) -> Sample:
    """The metrics now; `at` is in Unix seconds."""
    values = metrics.snapshot()
    ages = metrics.ages()
    return Sample(
        at=at,
        consumed=values["events_consumed_total"],
        settled={outcome: sum(kinds.values()) for outcome, kinds in values["events_total"].items()},
        dead_letters={
            (stage, error): count
            for stage, errors in values["dead_letters_total"].items()
            for error, count in errors.items()
        },
        stages={stage: found["sum"] for stage, found in values["stage_duration_seconds"].items()},
        lag=float(sum(values["consumer_lag_events"].values())),
        ages=tuple(ages.counts),
        age_bounds=ages.bounds,
    )
