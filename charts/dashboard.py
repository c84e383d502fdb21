"""Writes the dashboard of the indexer's chart with `--write`; with `--check` it fails when that is not current.

A row is a question of the day, a panel an answer. Units, descriptions and the way to the runbook belong to each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from dashboard_events import FAILURES, FRESHNESS, GLANCE, KEEPS_UP, SLOW, WAITS
from dashboard_panels import Panel, Row
from dashboard_system import AUDIT, GROUP, OPERATOR, SATURATION

DASHBOARD: Final = Path(__file__).parent / "activity-indexer" / "dashboards" / "activity-indexer.json"
ROWS: Final = (GLANCE, KEEPS_UP, FRESHNESS, WAITS, SLOW, FAILURES, GROUP, SATURATION, AUDIT, OPERATOR)
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
PODS: Final = 'namespace="$namespace",pod=~"$pod"'
COLOURS: Final = {"green": None, "orange": 0, "red": 1}


def current() -> str:
    """The dashboard as it should be."""
    return json.dumps(_dashboard(), indent=2, ensure_ascii=False) + "\n"


def _dashboard() -> dict[str, Any]:
    return {
        "title": "Activity Indexer",
        "uid": "activity-indexer",
        "description": "From Kafka into Elasticsearch: does it keep up, how fresh is search, who is slow, what fails.",
        "tags": ["activity-indexer"],
        "schemaVersion": 39,
        "version": 2,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": _variables()},
        "annotations": {"list": _annotations()},
        "links": [{"title": "Runbooks", "type": "link", "icon": "doc", "url": "${runbooks}", "targetBlank": True}],
        "panels": list(_panels(ROWS)),
    }


def _variables() -> list[dict[str, Any]]:
    info = "activity_indexer_build_info"
    asked = {"type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1}
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        asked | {"name": "namespace", "label": "Namespace", "query": f"label_values({info}, namespace)"},
        asked
        | {"name": "pod", "label": "Pod", "query": f'label_values({info}{{namespace="$namespace"}}, pod)'}
        | {"multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}},
        {"name": "runbooks", "label": "Runbooks", "type": "constant", "hide": 2, "query": "docs/runbooks.md"},
    ]


def _annotations() -> list[dict[str, Any]]:
    shown = {"datasource": SOURCE, "enable": True, "iconColor": "purple", "name": "Rebalances"}
    return [shown | {"expr": f"max(activity_indexer_rebalance_in_progress{{{PODS}}}) > 0", "titleFormat": "Rebalance"}]


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        if row.title:
            number += 1
            yield _place(number, 0, top, WIDTH, 1) | {
                "title": row.title,
                "type": "row",
                "collapsed": False,
                "panels": [],
            }
            top += 1
        left = 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                left, top = 0, top + row.height
            number += 1
            yield _place(number, left, top, panel.width, row.height) | _panel(panel)
            left += panel.width
        top += row.height


def _place(number: int, x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"id": number, "gridPos": {"x": x, "y": y, "w": w, "h": h}}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "type": "stat" if panel.limits else "timeseries",
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "targets": [
            {"refId": chr(65 + place), "expr": query.replace("PODS", PODS), "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries.items())
        ],
        "options": _stat() if panel.limits else _legend(),
        "links": [
            {"title": alert, "url": f"${{runbooks}}#{alert.lower()}", "targetBlank": True} for alert in panel.runbooks
        ],
    }


def _field(panel: Panel) -> dict[str, Any]:
    shown: dict[str, Any] = {"unit": panel.unit, "min": 0, "noValue": "none"}
    if panel.limits:
        steps = [
            {"color": colour, "value": None if place is None else panel.limits[place]}
            for colour, place in COLOURS.items()
        ]
        good_is_high = panel.limits[0] > panel.limits[1]
        return shown | {"thresholds": {"mode": "absolute", "steps": _rising(steps) if good_is_high else steps}}
    custom = {"fillOpacity": 25 if panel.stacked else 8, "lineWidth": 1, "showPoints": "never", "spanNulls": False}
    return shown | {"custom": custom | {"stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"}}}


def _rising(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same where more is better: red from the bottom."""
    good, fair, bad = steps
    return [
        {"color": bad["color"], "value": None},
        {"color": fair["color"], "value": bad["value"]},
        {"color": good["color"], "value": fair["value"]},
    ]


def _stat() -> dict[str, Any]:
    return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}


def _legend() -> dict[str, Any]:
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        DASHBOARD.write_text(current(), encoding="utf-8")
    elif DASHBOARD.read_text(encoding="utf-8") != current():
        sys.exit("charts/activity-indexer/dashboards/activity-indexer.json is not current: run `make charts`")
