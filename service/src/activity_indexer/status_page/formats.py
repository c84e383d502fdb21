"""Numbers and times in readable form."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

NOTHING: Final = "\u2013"
"""Shown for what is not known, or does not apply."""


def count(value: float | None) -> str:
    """A whole number with thousands set apart."""
    return NOTHING if value is None else f"{round(value):,}".replace(",", "\u202f")


def rate(value: float) -> str:
    """Events per second: exact when small."""
    return count(value) if value >= 10 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """A length of time in its largest sensible unit."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:.1f} days"


def clock(at: float | None) -> str:
    """A time of day in UTC."""
    return NOTHING if at is None else time.strftime("%H:%M:%S UTC", time.gmtime(at))


def percent(share: float) -> str:
    """A share of one."""
    return f"{share:.0%}"


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "count": count,
    "rate": rate,
    "duration": duration,
    "clock": clock,
    "percent": percent,
}
