"""Watches how late the event loop comes to a timer: what starves it starves the heartbeat, too."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from activity_indexer.reports import Emit, LoopTicked

TICK_INTERVAL: Final = 0.5
"""Seconds between two ticks."""

LAG_WARNING: Final = 1.0
"""Seconds of lag that are logged."""


async def watch_loop(emit: Emit, interval: float = TICK_INTERVAL) -> None:
    """Tick for ever, to be run as a task and cancelled at the end."""
    loop = asyncio.get_running_loop()
    log = structlog.get_logger(__name__)
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        lag = max(0.0, loop.time() - due)
        emit(LoopTicked(lag))
        if lag >= LAG_WARNING:
            log.warning("loop.lagged", seconds=round(lag, 3))
