import asyncio
import contextlib
import time

import pytest
import structlog

from activity_indexer.reports import Subscribers
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.loop import watch_loop
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.progress import Progress


@pytest.fixture
async def watched():
    ticks = []
    health = Health(time.monotonic, 120.0)
    health.ticked = lambda: ticks.append(time.monotonic())
    metrics = Metrics()
    task = asyncio.create_task(watch_loop(Subscribers(metrics.indexer, Progress(health)), interval=0.01))
    yield ticks, metrics
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_the_loop_ticks(watched):
    ticks, metrics = watched
    await asyncio.sleep(0.1)
    assert len(ticks) >= 3
    assert metrics.snapshot()["event_loop_lag_seconds"]["count"] == len(ticks)


async def test_a_loop_that_is_held_up_is_measured_and_reported(watched):
    _, metrics = watched
    with structlog.testing.capture_logs() as logs:
        await asyncio.sleep(0.03)
        time.sleep(1.1)  # noqa: ASYNC251 - this is what is to be noticed
        await asyncio.sleep(0.03)
    assert metrics.snapshot()["event_loop_lag_seconds"]["sum"] > 1
    assert [line["event"] for line in logs] == ["loop.lagged"]
    assert logs[0]["seconds"] > 1
