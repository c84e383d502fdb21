"""Draws the dashboard of the chart from what a Prometheus has, for a look without Grafana.

    python demo/dashboard_picture.py --prometheus http://localhost:9090 --namespace payments -o dashboard.png

Every panel is drawn; the exit code is 1 where one of them has no data. `--leave-out ROW` draws all but a row.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from picture_browser import photograph
from picture_plots import Frame, Line, plot, spark
from picture_units import said

DASHBOARD: Final = Path(__file__).parents[1] / "charts/activity-indexer/dashboards/activity-indexer.json"
COLUMN, GAP, UNIT, HEAD, LEGEND = 66, 8, 31, 34, 62
"""Pixels: of one of 24 columns, between panels, of a unit of height, of a panel's title, of its legend."""
POINTS: Final = 280
STYLE: Final = """
body { margin: 0; background: #f0f2f4; font: 12px/1.35 "DejaVu Sans", Helvetica, Arial, sans-serif; color: #24303a; }
h1 { font-size: 19px; margin: 0; padding: 14px 0 0 14px; }
h1 small { font-weight: normal; color: #66737f; font-size: 13px; }
h2 { position: absolute; margin: 0; font-size: 15px; }
.panel { position: absolute; background: #fff; overflow: hidden; box-sizing: border-box; }
.panel { border: 1px solid #dde2e6; border-radius: 4px; }
.title { padding: 7px 10px 0; font-weight: bold; }
.none { padding: 30px; color: #99a4ad; text-align: center; }
.grid { stroke: #e6eaed; }
text { font-size: 11px; fill: #66737f; }
.legend { padding: 3px 10px 0; height: 56px; overflow: hidden; }
.key { display: inline-block; margin-right: 14px; white-space: nowrap; font-size: 11px; }
.key i { display: inline-block; width: 12px; height: 3px; margin: 0 5px 3px 0; }
.key em { font-style: normal; color: #85919b; }
.stat { text-align: center; font-size: 25px; padding-top: 8px; font-weight: bold; }
.stat small { font-size: 14px; font-weight: normal; }
.stat svg { position: absolute; left: 0; bottom: 0; }
.green { color: #2e7d3a; }
.orange { color: #c96f12; }
.red { color: #b3261e; }
"""


@dataclass(frozen=True)
class Source:
    """A Prometheus, the time that is looked at (Unix seconds), and the values of the dashboard's variables."""

    address: str
    start: float
    end: float
    variables: Mapping[str, str]

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max(1.0, round((self.end - self.start) / POINTS))

    def ask(self, target: Mapping[str, str]) -> list[Line]:
        """The lines of a query."""
        query = target["expr"]
        for name, value in self.variables.items():
            query = query.replace(f"${name}", value)
        asked = urllib.parse.urlencode({"query": query, "start": self.start, "end": self.end, "step": self.step})
        address = f"{self.address}/api/v1/query_range?{asked}"
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - the user's own Prometheus
            found = json.load(answer)["data"]["result"]
        return [_line(target["legendFormat"], series) for series in found]


def _line(legend: str, series: Mapping[str, Any]) -> Line:
    for label, value in series["metric"].items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    points = [(float(moment), float(value)) for moment, value in series["values"] if value not in {"NaN", "+Inf"}]
    return Line(legend, points)


@dataclass(frozen=True)
class Page:
    """The page, its size in pixels, and the panels that have no data."""

    html: str
    height: int
    empty: Sequence[str]


def page(dashboard: Mapping[str, Any], source: Source, left_out: Sequence[str]) -> Page:
    """All panels at their places."""
    kept = list(_kept(dashboard["panels"], left_out))
    lines = {panel["id"]: _lines(panel, source) for panel in kept if panel["type"] != "row"}
    drawn = "".join(_drawn(panel, lines.get(panel["id"], []), source) for panel in kept)
    clock = [time.strftime("%H:%M", time.gmtime(moment)) for moment in (source.start, source.end)]
    about = f"{escape(str(source.variables.get('namespace', '')))} · {clock[0]} to {clock[1]} UTC"
    head = f"<h1>{escape(dashboard['title'])} <small>{about}</small></h1>"
    empty = [
        panel["title"] for panel in kept if panel["type"] != "row" and not any(x.points for x in lines[panel["id"]])
    ]
    height = HEAD + 20 + max((panel["gridPos"]["y"] + panel["gridPos"]["h"]) * UNIT for panel in kept)
    return Page(f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}{drawn}', height, empty)


def _kept(panels: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    row = ""
    for panel in panels:
        row = panel["title"] if panel["type"] == "row" else row
        if row not in left_out:
            yield panel


def _lines(panel: Mapping[str, Any], source: Source) -> list[Line]:
    return [line for target in panel["targets"] for line in source.ask(target) if line.points]


def _drawn(panel: Mapping[str, Any], lines: Sequence[Line], source: Source) -> str:
    at = panel["gridPos"]
    left, top = 12 + at["x"] * COLUMN, HEAD + 10 + at["y"] * UNIT
    width, height = at["w"] * COLUMN - GAP, at["h"] * UNIT - GAP
    if panel["type"] == "row":
        return f'<h2 style="left:{left}px;top:{top + 6}px">{escape(panel["title"])}</h2>'
    inside = _inside(panel, lines, source, (width, height)) if lines else '<div class="none">no data</div>'
    box = f"left:{left}px;top:{top}px;width:{width}px;height:{height}px"
    return f'<div class="panel" style="{box}"><div class="title">{escape(panel["title"])}</div>{inside}</div>'


def _inside(panel: Mapping[str, Any], lines: Sequence[Line], source: Source, size: tuple[int, int]) -> str:
    field = panel["fieldConfig"]["defaults"]
    if panel["type"] == "stat":
        return _stat(lines[0], field, size[0] - 2)
    stacked = field["custom"]["stacking"]["mode"] == "normal"
    height = size[1] - HEAD + 8 - LEGEND
    return plot(lines, Frame(size[0] - 2, height, source.start, source.end, source.step, field["unit"], stacked))


def _stat(line: Line, field: Mapping[str, Any], width: int) -> str:
    steps, value = field["thresholds"]["steps"], line.points[-1][1]
    colour = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
    number, _, unit = said(value, field["unit"]).partition(" ")
    return f'<div class="stat {colour}">{escape(number)} <small>{escape(unit)}</small>{spark(line, width, 34)}</div>'


def main(arguments: Sequence[str]) -> int:
    """Draw it; returns the exit code."""
    options = _options(arguments)
    end = options.end or time.time()
    seconds = 60 * options.minutes
    values = {
        "__rate_interval": options.rate,
        "__range": f"{seconds:.0f}s",
        "namespace": options.namespace,
        "pod": ".*",
    }
    source = Source(options.prometheus.rstrip("/"), end - seconds, end, values)
    made = page(json.loads(DASHBOARD.read_text(encoding="utf-8")), source, options.leave_out)
    with tempfile.TemporaryDirectory() as folder:
        written = options.html or Path(folder) / "dashboard.html"
        written.write_text(made.html, encoding="utf-8")
        if options.output:
            photograph(written, options.output, 24 + 24 * COLUMN, made.height)
    for title in made.empty:
        print(f"no data: {title}", file=sys.stderr)
    return 1 if made.empty else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw the dashboard from what a Prometheus has.")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--namespace", default="demo", help="the indexers' namespace")
    parser.add_argument("--minutes", type=float, default=60, help="how long before the end to begin")
    parser.add_argument("--end", type=float, help="Unix time; now by default")
    parser.add_argument("--rate", default="30s", metavar="INTERVAL", help="what Grafana calls $__rate_interval")
    parser.add_argument("--leave-out", action="append", default=[], metavar="ROW", help="a row by its title")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write a picture of it (PNG; needs Chromium)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
