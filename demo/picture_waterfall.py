"""Spans as bars over time, as SVG; stretches in which nothing happens are cut short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from picture_spans import Span, Trace
from picture_units import said

WIDTH, ROW, NAMES, NOTES, TOP = 1360, 30, 380, 330, 30
"""Pixels: of everything, of a span's height, of the names at the left, of the notes at the right, of the clock."""
CUT: Final = 46
"""Pixels of a stretch that is cut out."""
IDLE: Final = 0.15
"""Share of the whole time from which on a stretch without spans is cut out."""
COLOURS: Final = {"activity-loadgen": "#d9822b", "activity-indexer": "#2f6fb0", "activity-indexer-operator": "#3a7d44"}
AUDIT: Final = "#1f9aa6"
TOLD: Final = {"error.type": "", "messaging.kafka.offset": "offset ", "activity_indexer.replay.id": "replay "}


@dataclass(frozen=True)
class Clock:
    """Pixels by time: stretches with spans one after the other, with cuts between."""

    stretches: Sequence[tuple[float, float]]

    @classmethod
    def of(cls, spans: Sequence[Span]) -> Clock:
        """The stretches of these spans."""
        whole = max(span.end for span in spans) - min(span.start for span in spans)
        stretches: list[tuple[float, float]] = []
        for span in sorted(spans, key=lambda span: span.start):
            if stretches and span.start - stretches[-1][1] <= IDLE * whole:
                stretches[-1] = (stretches[-1][0], max(stretches[-1][1], span.end))
            else:
                stretches.append((span.start, span.end))
        return cls(stretches)

    @property
    def scale(self) -> float:
        """Pixels of a second."""
        room = WIDTH - NAMES - NOTES - CUT * (len(self.stretches) - 1)
        return room / (sum(end - start for start, end in self.stretches) or 1.0)

    def x(self, moment: float) -> float:
        """Where a moment is."""
        left = float(NAMES)
        for start, end in self.stretches:
            if moment <= end:
                return left + max(0.0, moment - start) * self.scale
            left += (end - start) * self.scale + CUT
        return left - CUT


def waterfall(trace: Trace) -> tuple[str, int]:
    """The drawing, and its height in pixels."""
    clock = Clock.of(trace.spans)
    height = TOP + ROW * len(trace.spans) + 12
    parts = [*_stripes(trace.spans), *_cuts(clock, height), *_times(clock)]
    for row, span in enumerate(trace.spans):
        parts += _bar(span, row, clock)
    parts += _links(trace, clock)
    return f'<svg width="{WIDTH}" height="{height}">{"".join(parts)}</svg>', height


def _middle(row: int) -> float:
    return TOP + ROW * row + ROW / 2


def _stripes(spans: Sequence[Span]) -> Iterator[str]:
    for row in range(0, len(spans), 2):
        yield f'<rect x="0" y="{TOP + ROW * row}" width="{WIDTH}" height="{ROW}" class="stripe"/>'


def _cuts(clock: Clock, height: int) -> Iterator[str]:
    for (_, end), (start, _) in zip(clock.stretches, clock.stretches[1:], strict=False):
        left = clock.x(end)
        yield f'<rect x="{left:.1f}" y="{TOP - 18}" width="{CUT}" height="{height - TOP}" class="cut"/>'
        place = f'x="{left + CUT / 2:.1f}" y="{TOP - 6}" text-anchor="middle"'
        yield f'<text {place} class="dim">{said(start - end, "s")}</text>'


def _times(clock: Clock) -> Iterator[str]:
    first = clock.stretches[0][0]
    for start, end in clock.stretches:
        left, right = clock.x(start), clock.x(end)
        yield f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{TOP - 1}" y2="{TOP - 1}" stroke="#b9c3ca"/>'
        yield f'<text x="{left:.1f}" y="{TOP - 6}" class="dim">+{said(start - first, "s")}</text>'


def _bar(span: Span, row: int, clock: Clock) -> Iterator[str]:
    middle, left = _middle(row), clock.x(span.start)
    width = max(3.0, clock.x(span.end) - left)
    lasted = said(span.end - span.start, "s")
    yield f'<text x="{8 + 18 * span.depth}" y="{middle + 4}"><tspan class="name">{escape(span.operation)}</tspan>'
    yield f'<tspan class="dim" dx="8">{escape(_who(span))}</tspan></text>'
    yield f'<rect x="{left:.1f}" y="{middle - 8}" width="{width:.1f}" height="16" rx="2" fill="{_colour(span)}"/>'
    yield f'<text x="{left + width + 6:.1f}" y="{middle + 4}" class="dim">{lasted}</text>'
    yield f'<text x="{WIDTH - NOTES + 70}" y="{middle + 4}">{_notes(span)}</text>'


def _who(span: Span) -> str:
    """The service, and which part of it."""
    audit = str(span.tags.get("messaging.client.id", "")).endswith(".audit")
    part = "audit" if audit else "replay" if "activity_indexer.replay.id" in span.tags else ""
    return f"{span.service}, {part}" if part else span.service


def _colour(span: Span) -> str:
    if span.tags.get("error"):
        return "#b33a3a"
    return AUDIT if _who(span).endswith("audit") else COLOURS.get(span.service, "#5c6b7a")


def _notes(span: Span) -> str:
    bad = ' class="bad"' if span.tags.get("error") else ""
    outcome = f'<tspan font-weight="bold"{bad}>{escape(span.outcome)}</tspan> ' if span.outcome else ""
    told = " · ".join(f"{word}{span.tags[key]}" for key, word in TOLD.items() if key in span.tags)
    return f'{outcome}<tspan class="dim">{escape(told)}</tspan>'


def _links(trace: Trace, clock: Clock) -> Iterator[str]:
    """From the end of what came before to the start of what it led to."""
    rows = {span.id: row for row, span in enumerate(trace.spans)}
    for row, span in enumerate(trace.spans):
        for link in span.links:
            if link.trace == trace.id and link.span in rows:
                origin = rows[link.span]
                x1, y1 = clock.x(trace.spans[origin].end), _middle(origin) + 8
                x2, y2 = clock.x(span.start), _middle(row) - 8
                half = (y1 + y2) / 2
                yield f'<path class="link" d="M{x1:.1f},{y1} C{x1:.1f},{half} {x2:.1f},{half} {x2:.1f},{y2}"/>'
