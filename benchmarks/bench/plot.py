"""Pictures of results for the docs, as plain SVG: `python -m bench.plot RESULTS FOLDER`."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from bench import results
from bench.candidates import TITLES
from bench.results import Results, Row

WIDTH: Final = 720
OURS: Final = "#0b6e4f"
EARLIER: Final = "#9db8ad"
OTHERS: Final = "#7a869a"
BOUND: Final = "#c9ced6"
INK: Final = "#1f2933"
PALE: Final = "#e4e7eb"
BAR: Final = 26
LEFT: Final = 240
RIGHT: Final = 120
PLOT: Final = (64, 40, 24, 52)
"""Space on the left, above, on the right and below a curve."""

AXES: Final = {
    "growth-batch": "CONSUMER_BATCH_SIZE",
    "growth-partitions": "partitions",
    "growth-size": "bytes of an event",
    "growth-duplicates": "% of the events sent twice",
    "growth-invalid": "% of invalid events beside the valid ones",
    "growth-ties": "% of the updates that share a timestamp",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A point of a curve, with the ends of its readings."""

    x: float
    y: float
    least: float
    most: float


def text(x: float, y: float, words: str, *, size: int = 13, anchor: str = "start", fill: str = INK) -> str:
    """One line of text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(words)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = PALE, width: float = 1) -> str:
    """One straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width:g}"/>'


def picture(height: float, title: str, parts: Iterable[str]) -> str:
    """All of it on white, so that it can be read on a dark page too."""
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}"'
                f' height="{height:.0f}" font-family="system-ui, sans-serif" role="img" aria-label="{escape(title)}">'
            ),
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>',
            text(16, 24, title, size=15),
            *parts,
            "</svg>\n",
        ]
    )


def ticks(most: float, about: int = 5) -> list[float]:
    """Round numbers from zero to this one."""
    raw = most / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [step * at for at in range(int(most / step) + 1)]


def colour(candidate: str) -> str:
    """Whose bar it is."""
    if candidate.startswith("indexer"):
        return OURS
    if candidate.startswith("before"):
        return EARLIER
    return BOUND if candidate in {"prototype", "franz", "limit"} else OTHERS


def bars(rows: Sequence[Row], title: str) -> str:
    """CPU time of an event for each candidate, the cheapest first."""
    shown = sorted((row for row in rows if row.cost and row.rate), key=lambda row: row.cost.median if row.cost else 0)
    most = max(row.cost.most for row in shown if row.cost)
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = [line(LEFT + tick * scale, 40, LEFT + tick * scale, 48 + BAR * len(shown)) for tick in ticks(most)]
    parts += [
        text(LEFT + tick * scale, 64 + BAR * len(shown), f"{tick:g}", size=11, anchor="middle") for tick in ticks(most)
    ]
    for at, row in enumerate(shown):
        assert row.cost is not None  # noqa: S101 - chosen above
        assert row.rate is not None  # noqa: S101 - chosen above
        y = 44 + BAR * at
        middle = y + (BAR - 6) / 2
        parts += [
            text(LEFT - 8, y + 15, TITLES.get(row.candidate, row.candidate), anchor="end"),
            (
                f'<rect x="{LEFT}" y="{y}" width="{row.cost.median * scale:.1f}" height="{BAR - 6}"'
                f' fill="{colour(row.candidate)}"/>'
            ),
            line(LEFT + row.cost.least * scale, middle, LEFT + row.cost.most * scale, middle, INK, 1.5),
            text(
                LEFT + row.cost.most * scale + 8,
                y + 15,
                f"{row.cost.median:.1f} µs, {row.rate.median / 1000:.0f} k/s",
                size=12,
            ),
        ]
    return picture(80 + BAR * len(shown), title, parts)


def curve(marks: Sequence[Mark], title: str, across: str, *, logarithmic: bool = True) -> str:
    """CPU time of an event over an amount; the vertical axis begins at zero."""
    height = 320
    left, above, right, below = PLOT
    most = max(mark.most for mark in marks) * 1.08
    first, last = min(mark.x for mark in marks), max(mark.x for mark in marks)

    def at_x(x: float) -> float:
        share = math.log(x / first) / math.log(last / first) if logarithmic else (x - first) / ((last - first) or 1)
        return left + share * (WIDTH - left - right)

    def at_y(y: float) -> float:
        return height - below - y / most * (height - above - below)

    parts = []
    for tick in ticks(most):
        parts += [
            line(left, at_y(tick), WIDTH - right, at_y(tick)),
            text(left - 8, at_y(tick) + 4, f"{tick:g}", size=11, anchor="end"),
        ]
    parts.append(text(16, above, "µs", size=11))
    for mark in marks:
        parts += [
            text(at_x(mark.x), height - below + 18, f"{mark.x:,g}", size=11, anchor="middle"),
            line(at_x(mark.x), at_y(mark.least), at_x(mark.x), at_y(mark.most), OURS, 1.5),
            f'<circle cx="{at_x(mark.x):.1f}" cy="{at_y(mark.y):.1f}" r="3.5" fill="{OURS}"/>',
            text(at_x(mark.x), at_y(mark.most) - 7, f"{mark.y:.1f}", size=11, anchor="middle"),
        ]
    path = " ".join(f"{at_x(mark.x):.1f},{at_y(mark.y):.1f}" for mark in marks)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{OURS}" stroke-width="2"/>')
    parts.append(text(left + (WIDTH - left - right) / 2, height - 12, across, size=12, anchor="middle"))
    return picture(height, title, parts)


def marks(rows: Sequence[Row], part: str) -> list[Mark]:
    """Of a growth part, by its amount."""
    found = [
        Mark(row.x, row.cost.median, row.cost.least, row.cost.most)
        for row in rows
        if row.part == part and row.x is not None and row.cost
    ]
    return sorted(found, key=lambda mark: mark.x)


def on_the_way(found: Results) -> list[Mark]:
    """CPU time of an event between two samples of the longest run."""
    taken = results.samples(found)
    steps = [
        (after.x, (after.y - before.y) / (after.x - before.x) * 1e6)
        for before, after in itertools.pairwise(taken)
        if after.x >= 10_000
    ]
    return [Mark(x, y, y, y) for x, y in steps]


def pictures(found: Results) -> dict[str, str]:
    """All that the results have something for, by file name."""
    rows = results.rows(found)
    drawn = {}
    peers = [row for row in rows if row.part == "blackhole" and row.cost]
    if peers:
        drawn["peers.svg"] = bars(peers, "CPU time of one event, whole process (µs); events/s")
    for part, across in AXES.items():
        taken = marks(rows, part)
        if len(taken) > 1:
            drawn[f"{part}.svg"] = curve(
                taken,
                f"CPU time of one event (µs) over {across}",
                across,
                logarithmic=all(mark.x > 0 for mark in taken),
            )
    steps = on_the_way(found)
    if len(steps) > 1:
        drawn["growth-events.svg"] = curve(
            steps, "CPU time of one event (µs) over the events of one run", "events so far"
        )
    return drawn


def main() -> None:
    """Draw."""
    file, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawn in pictures(results.load(file)).items():
        (folder / name).write_text(drawn, encoding="utf-8")
        print(folder / name)


if __name__ == "__main__":
    main()
