"""When a record was published, as far as its timestamp can be believed: a producer may write any number there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EARLIEST: Final = 10**12
"""September 2001 (milliseconds since the epoch): Kafka is younger, and a time in seconds stays below this number for
thousands of years. 0 and -1 stand for no time at all."""

MAX_AHEAD: Final = 3600.0
"""How far a producer's clock may be ahead of ours (seconds): brokers refuse more by default
(`message.timestamp.after.max.ms`). Times in microseconds are far beyond it."""


def published_at(timestamp: int, now: float) -> float | None:
    """When a record with this timestamp (milliseconds) was published (seconds since the epoch); None: it cannot be.

    A time that is a little ahead of ours is now: nothing is published later than it is read.
    """
    if not EARLIEST <= timestamp <= (now + MAX_AHEAD) * 1000:
        return None
    return min(timestamp / 1000, now)


def ages(timestamps: Sequence[int], now: float) -> list[float]:
    """How long ago records were published (seconds), of those whose timestamps can be true."""
    if timestamps and min(timestamps) >= EARLIEST and max(timestamps) <= now * 1000:
        return [now - each / 1000 for each in timestamps]
    latest = (now + MAX_AHEAD) * 1000
    return [max(0.0, now - each / 1000) for each in timestamps if EARLIEST <= each <= latest]
