"""Plots as SVG: a line over time with a readable scale. Values in, text out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

WIDTH: Final = 640
HEIGHT: Final = 170
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
TICKS: Final = 4

SMALLEST: Final = 1e-6
"""A scale's end is no smaller."""

Point = tuple[float, float | None]
"""Unix seconds and a value; None is a gap."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A titled line from `start` to `end` (Unix seconds); `unit` follows values."""

    title: str
    unit: str
    points: Sequence[Point]
    start: float
    end: float

    @property
    def top(self) -> float:
        """The scale's upper end: a round number no smaller than any value."""
        return nice_ceiling(max((value for _, value in self.points if value is not None), default=0.0))

    def svg(self) -> Markup:
        """The drawing, with its scale."""
        parts = [*self._grid(), *self._times(), *self._lines()]
        label = Markup("{}, in {}").format(self.title, self.unit)
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, HEIGHT, label, Markup("").join(parts)
        )

    def _x(self, at: float) -> float:
        share = (at - self.start) / max(self.end - self.start, 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        return TOP + (1 - value / self.top) * (HEIGHT - TOP - BOTTOM)

    def _grid(self) -> Iterator[Markup]:
        for step in range(TICKS + 1):
            value = self.top * step / TICKS
            y = self._y(value)
            yield Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, y, y
            )
            yield Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 6, y + 4, short_number(value)
            )

    def _times(self) -> Iterator[Markup]:
        for step in range(TICKS + 1):
            at = self.start + (self.end - self.start) * step / TICKS
            anchor = "start" if step == 0 else "end" if step == TICKS else "middle"
            shown = time.strftime("%H:%M", time.gmtime(at))
            yield Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                self._x(at), HEIGHT - 6, anchor, shown
            )

    def _lines(self) -> Iterator[Markup]:
        for run in runs(self.points):
            line = " ".join(f"{self._x(at):.1f},{self._y(value):.1f}" for at, value in run)
            floor, first, last = self._y(0.0), self._x(run[0][0]), self._x(run[-1][0])
            yield Markup('<polygon class="area" points="{:.1f},{:.1f} {} {:.1f},{:.1f}"/>').format(
                first, floor, line, last, floor
            )
            yield Markup('<polyline class="line" points="{}"/>').format(line)


def runs(points: Sequence[Point]) -> Iterator[list[tuple[float, float]]]:
    """The points between gaps."""
    run: list[tuple[float, float]] = []
    for at, value in points:
        if value is not None:
            run.append((at, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def nice_ceiling(value: float) -> float:
    """The smallest of 1, 2, 4 or 8 times a power of ten that is no smaller, from a millionth on; 1 for nothing."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(max(value, SMALLEST)))
    return next((factor * power for factor in (1, 2, 4, 8) if factor * power >= value), 10 * power)


def short_number(value: float) -> str:
    """A number for a scale: 0.25, 40, 1.5k, 2M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
