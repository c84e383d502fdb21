"""Takes samples of the metrics, as long as the port is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from activity_indexer.status_page.history import INTERVAL, History, Sample
from activity_indexer.telemetry.metrics.distribution import Distribution
from activity_indexer.telemetry.metrics.indexer import Metrics


async def keep_sampling(metrics: Metrics, history: History, interval: float = INTERVAL) -> None:
    """Add a sample every `interval` seconds, the first at once; to be run as a task and cancelled at the end."""
    while True:
        history.add(sample(metrics.snapshot(), metrics.ages, time.time()))
        await asyncio.sleep(interval)


def sample(values: Mapping[str, Any], ages: Distribution, at: float) -> Sample:
    """What a snapshot of the metrics and the ages of events (seconds) say; `at` is in Unix seconds."""
    return Sample(
        at=at,
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
