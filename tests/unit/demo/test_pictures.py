"""What the tools that draw dashboards and traces make of their input."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).parents[3] / "demo"
sys.path.append(str(DEMO))

import dashboard_picture  # noqa: E402
import picture_plots  # noqa: E402
import picture_units  # noqa: E402
import picture_waterfall  # noqa: E402
import trace_picture  # noqa: E402
from picture_plots import Frame, Line  # noqa: E402
from picture_spans import parse  # noqa: E402

MICRO = 1_000_000


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0034, "s", "3.4 ms"), (90, "s", "1.5 min"), (0, "s", "0 s"), (12_345, "suffix: events", "12.3k events"),
        (0.9912, "percentunit", "99.1 %"), (2**20 * 1.5, "bytes", "1.5 MiB"), (1, "bool_yes_no", "yes"),
    ],
)  # fmt: skip
def test_numbers_are_said_with_their_unit(value: float, unit: str, text: str) -> None:
    assert picture_units.said(value, unit) == text


@pytest.mark.parametrize(
    ("top", "unit", "expected"),
    [(95, "short", [0, 50]), (150, "s", [0, 60, 120]), (3 * 2**20, "bytes", [0, 2**20, 2 * 2**20, 3 * 2**20])],
)
def test_ticks_are_round_in_the_unit_that_is_shown(top: float, unit: str, expected: list[float]) -> None:
    assert picture_units.ticks(top, unit) == pytest.approx(expected)


def frame(*, stacked: bool = False) -> Frame:
    return Frame(400, 200, 0, 60, 10, "short", stacked)


def test_a_line_has_a_gap_where_points_are_missing() -> None:
    drawn = picture_plots.plot([Line("a", [(0, 1), (10, 1), (40, 1), (50, 1)])], frame())
    assert drawn.count("<polyline") == 2


def test_stacked_lines_lie_upon_each_other() -> None:
    lines = [Line("a", [(0, 3), (10, 3)]), Line("b", [(0, 1), (10, 1)])]
    drawn = picture_plots.plot(lines, frame(stacked=True))
    highest = [float(line.split(",")[1].split(" ")[0]) for line in re.findall(r'<polyline points="([^"]+)"', drawn)]
    assert highest[0] < highest[1], "the smaller one is on top of the larger"


class Away:
    """A Prometheus that has data for some panels only."""

    start, end, step = 0.0, 60.0, 10.0
    variables: dict[str, str] = {"namespace": "demo"}  # noqa: RUF012 - read only

    def ask(self, target: dict[str, Any]) -> list[Line]:
        return [] if "dead" in target["expr"] else [Line("a<b", [(0, 1), (10, 2)])]


def panel(number: int, kind: str, title: str, expr: str = "") -> dict[str, Any]:
    defaults = {
        "unit": "s",
        "custom": {"stacking": {"mode": "none"}},
        "thresholds": {"steps": [{"color": "red", "value": None}]},
    }
    return {
        "id": number, "type": kind, "title": title, "gridPos": {"x": 0, "y": number * 8, "w": 8, "h": 8},
        "targets": [{"expr": expr, "legendFormat": ""}], "fieldConfig": {"defaults": defaults},
    }  # fmt: skip


def test_a_panel_without_data_is_told_and_a_row_can_be_left_out() -> None:
    panels = [
        panel(1, "stat", "Lag", "lag"), panel(2, "row", "Fails"), panel(3, "timeseries", "Dead", "dead"),
        panel(4, "row", "Operator"), panel(5, "timeseries", "Replicas", "dead"),
    ]  # fmt: skip
    made = dashboard_picture.page({"title": "T", "panels": panels}, Away(), ["Operator"])  # type: ignore[arg-type]
    assert made.empty == ["Dead"]
    assert "no data" in made.html
    assert "Replicas" not in made.html


def span(number: int, start: float, length: float, *references: tuple[str, int], **tags: Any) -> dict[str, Any]:
    told = [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]
    return {
        "spanID": str(number), "operationName": f"step {number}", "startTime": start * MICRO,
        "duration": length * MICRO, "processID": "p1", "tags": told,
        "references": [{"refType": kind, "traceID": "t", "spanID": str(other)} for kind, other in references],
    }  # fmt: skip


def life() -> Any:
    spans = [
        span(3, 100, 0.5, ("CHILD_OF", 1), ("FOLLOWS_FROM", 2), activity_indexer__outcome="indexed"),
        span(1, 0, 1),
        span(2, 1, 0.5, ("CHILD_OF", 1), activity_indexer__outcome="dead_lettered", error=True),
    ]
    return parse({"traceID": "t", "spans": spans, "processes": {"p1": {"serviceName": "activity-indexer"}}})


def test_spans_stand_below_the_one_around_them_in_the_order_of_time() -> None:
    assert [(each.id, each.depth, each.outcome) for each in life().spans] == [
        ("1", 0, ""), ("2", 1, "dead-lettered"), ("3", 1, "indexed"),
    ]  # fmt: skip


def test_time_in_which_nothing_happens_is_cut_out() -> None:
    clock = picture_waterfall.Clock.of(life().spans)
    assert clock.stretches == [(0, 1.5), (100, 100.5)]
    assert clock.x(100) - clock.x(1.5) == picture_waterfall.CUT


def test_links_lead_from_what_came_before_and_failures_are_marked() -> None:
    html, _ = trace_picture.page([("A life", life())])
    assert html.count('class="link"') == 1
    assert 'class="bad">dead-lettered' in html
    assert "98.5 s" not in html
    assert "1.64 min" in html, "the stretch that was cut out is told"
