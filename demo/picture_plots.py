"""Lines over time as SVG, with axes and a legend, for pages that need no script."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from picture_units import said, ticks

COLOURS: Final = (
    "#3a7d44", "#2f6fb0", "#d9822b", "#b33a3a", "#7a4fa3", "#1f9aa6", "#b8901f", "#c2569b", "#5c6b7a", "#8a5a2b",
)  # fmt: skip
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 8, 20
ROWS, CHARACTER, MORE = 3, 6.9, 75
"""Rows of the legend; pixels of one of its characters, and of "and 12 more"."""
FEW: Final = 4
"""Lines up to which there is room for the greatest value of each."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """Points in time (Unix seconds, value) and what they are called."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Frame:
    """Size in pixels, the time that is shown, how far points may lie apart, and the unit of values."""

    width: int
    height: int
    start: float
    end: float
    step: float
    unit: str
    stacked: bool

    def x(self, moment: float) -> float:
        """Pixels from the left."""
        return LEFT + (moment - self.start) / (self.end - self.start) * (self.width - LEFT - RIGHT)

    def y(self, value: float, top: float) -> float:
        """Pixels from above."""
        return self.height - BOTTOM - (value / top if top else 0.0) * (self.height - TOP - BOTTOM)


def plot(lines: Sequence[Line], frame: Frame) -> str:
    """The plot and its legend as HTML."""
    drawn = sorted(lines, key=lambda line: -max((value for _, value in line.points), default=0.0))
    shapes = _stack(drawn) if frame.stacked else [(line, [0.0] * len(line.points)) for line in drawn]
    top = (
        1.0
        if frame.unit == "bool_yes_no"
        else max((v for line, _ in shapes for _, v in line.points), default=0.0) * 1.08
    )
    colours = {line.name: COLOURS[place % len(COLOURS)] for place, line in enumerate(drawn)}
    parts = [*_axes(frame, top)]
    for line, below in reversed(shapes):
        parts += _shape(line, below, frame, top, colours[line.name])
    svg = f'<svg width="{frame.width}" height="{frame.height}">{"".join(parts)}</svg>'
    return svg + _legend(drawn, frame, colours)


def _stack(lines: Sequence[Line]) -> list[tuple[Line, list[float]]]:
    """Each line upon the ones before it, with what is below it."""
    height: dict[float, float] = {}
    stacked = []
    for line in lines:
        below = [height.get(moment, 0.0) for moment, _ in line.points]
        points = [(moment, value + under) for (moment, value), under in zip(line.points, below, strict=True)]
        height |= dict(points)
        stacked.append((Line(line.name, points), below))
    return stacked


def _axes(frame: Frame, top: float) -> Iterator[str]:
    for value in [0.0, 1.0] if frame.unit == "bool_yes_no" else ticks(top, frame.unit):
        y = frame.y(value, top or 1.0)
        yield f'<line x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(_short(value, frame.unit))}</text>'
    every = 120 if frame.end - frame.start < 1200 else 600
    moment = (frame.start // every + 1) * every
    while moment < frame.end:
        label = time.strftime("%H:%M", time.gmtime(moment))
        yield f'<text x="{frame.x(moment):.1f}" y="{frame.height - 4}" text-anchor="middle">{label}</text>'
        moment += every


def _short(value: float, unit: str) -> str:
    """A number at the axis: what is counted stands in the legend."""
    return said(value, "short" if unit.startswith("suffix:") else unit)


def _shape(line: Line, below: Sequence[float], frame: Frame, top: float, colour: str) -> Iterator[str]:
    for piece in _pieces(line.points, below, frame.step):
        upper = [f"{frame.x(moment):.1f},{frame.y(value, top or 1.0):.1f}" for (moment, value), _ in piece]
        lower = [f"{frame.x(moment):.1f},{frame.y(under, top or 1.0):.1f}" for (moment, _), under in piece]
        opacity = 0.35 if frame.stacked else 0.06
        yield f'<polygon points="{" ".join(upper + lower[::-1])}" fill="{colour}" fill-opacity="{opacity}"/>'
        yield f'<polyline points="{" ".join(upper)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _pieces(points: Sequence[Point], below: Sequence[float], step: float) -> list[list[tuple[Point, float]]]:
    """Points that belong together: where some are missing there is a gap."""
    pieces: list[list[tuple[Point, float]]] = []
    for both in zip(points, below, strict=True):
        if not pieces or both[0][0] - pieces[-1][-1][0][0] > 1.5 * step:
            pieces.append([])
        pieces[-1].append(both)
    return pieces


def _legend(lines: Sequence[Line], frame: Frame, colours: dict[str, str]) -> str:
    named = lines[: _fitting([_said(line, frame.unit, len(lines)) for line in lines], frame.width)]
    entries = [
        f'<span class="key"><i style="background:{colours[line.name]}"></i>{escape(line.name)} '
        f"<b>{escape(said(line.points[-1][1], frame.unit))}</b>"
        f"<em>{escape(_most(line, frame.unit, len(lines)))}</em></span>"
        for line in named
    ]
    more = f'<span class="key">and {len(lines) - len(named)} more</span>' if len(lines) > len(named) else ""
    return f'<div class="legend">{"".join(entries)}{more}</div>'


def _fitting(texts: Sequence[str], width: int) -> int:
    """How many entries there is room for."""
    rows, left = 1, 0.0
    for number, text in enumerate(texts):
        wide = len(text) * CHARACTER + 32
        rows, left = (rows, left + wide) if left + wide <= width - 20 else (rows + 1, wide)
        last = number == len(texts) - 1
        if rows > ROWS or (rows == ROWS and not last and left + MORE > width - 20):
            return max(1, number)
    return len(texts)


def _said(line: Line, unit: str, lines: int) -> str:
    return f"{line.name} {said(line.points[-1][1], unit)}{_most(line, unit, lines)}"


def _most(line: Line, unit: str, lines: int) -> str:
    """The greatest value, where there is room for it."""
    return f" max {said(max(value for _, value in line.points), unit)}" if lines <= FEW else ""


def spark(line: Line, width: int, height: int) -> str:
    """A line without axes."""
    top = max(value for _, value in line.points) * 1.1 or 1.0
    first, last = line.points[0][0], line.points[-1][0]
    places = [
        f"{(moment - first) / ((last - first) or 1) * width:.1f},{height - value / top * height:.1f}"
        for moment, value in line.points
    ]
    area = " ".join([f"0,{height}", *places, f"{width},{height}"])
    lines = f'<polyline points="{" ".join(places)}" fill="none" stroke="currentColor" stroke-opacity="0.5"/>'
    below = f'<polygon points="{area}" fill="currentColor" fill-opacity="0.1"/>'
    return f'<svg width="{width}" height="{height}">{below}{lines}</svg>'
