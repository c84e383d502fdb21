"""Watches how late the event loop comes to a timer: what starves it starves the heartbeat, too."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.metrics.indexer import Metrics

TICK_INTERVAL: Final = 0.5
"""Seconds between two ticks."""

LAG_WARNING: Final = 1.0
"""Seconds of lag that are told in the log."""


async def watch_loop(health: Health, metrics: Metrics, interval: float = TICK_INTERVAL) -> None:
    """Tick for ever, to be run as a task and cancelled at the end."""
    loop = asyncio.get_running_loop()
    log = structlog.get_logger(__name__)
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        lag = max(0.0, loop.time() - due)
        health.ticked()
        metrics.loop_lag(lag)
        if lag >= LAG_WARNING:
            log.warning("loop.lagged", seconds=round(lag, 3))
