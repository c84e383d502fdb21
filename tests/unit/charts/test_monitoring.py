"""Alerts and dashboards ask for metrics that exist, and say where help is to be found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from rendering import ROOT, needs, objects, template

from activity_indexer.telemetry.metrics.indexer import COLLECTED, Metrics
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.replay.metrics import ReplayCounters, ReplayMetrics
from activity_indexer_operator.runtime import metrics as operator_metrics
from activity_indexer_operator.tasks.metrics import ScheduleMetrics

DASHBOARDS = sorted((ROOT / "charts").glob("*/dashboards/*.json"))
EXAMPLE = str(ROOT / "charts/activity-indexer/examples/production.yaml")
METRIC = re.compile(r"\b(?:activity_indexer|process)_[a-z_]+\b")
SELECTOR = re.compile(r"\b(activity_indexer_[a-z_]+)\{([^}]*)")
MATCHER = re.compile(r'([a-z_]+)=~?"([^"]*)"')
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


def operators() -> set[str]:
    registry: CollectorRegistry = operator_metrics.Metrics().registry
    ReplayCounters(registry)
    registry.register(ReplayMetrics(ObjectCache(), lambda: True))
    registry.register(ScheduleMetrics(ObjectCache(), lambda: True))
    return {family.name for family in registry.collect()} | {
        f"{family.name}_total" for family in registry.collect() if family.type == "counter"
    }


def known() -> set[str]:
    ours = {f"activity_indexer_{declaration.name}" for declaration in Metrics().declarations}
    return ours | {"process_cpu_seconds_total", "process_resident_memory_bytes"} | operators()


def unknown(expression: str) -> set[str]:
    names = set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))
    return {name for name in names if name not in known() and SUFFIX.sub("", name) not in known()}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def alerts() -> list[dict[str, Any]]:
    rules = objects(template("activity-indexer", "--values", EXAMPLE), "PrometheusRule")
    return [alert for rule in rules for group in rule["spec"]["groups"] for alert in group["rules"]]


def anchors(page: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


def test_the_process_metrics_are_collected() -> None:
    assert "process_*" in COLLECTED


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_metrics_that_exist(path: Any) -> None:
    for panel in panels(json.loads(path.read_text())):
        assert panel["targets"]
        assert not {name for target in panel["targets"] for name in unknown(target["expr"])}, panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_lies_upon_another(path: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_wait_for_label_values_that_can_be_counted() -> None:
    closed = {
        (f"activity_indexer_{declaration.name}", label.name): set(label.values)
        for declaration in Metrics().declarations
        for label in declaration.labels
        if not isinstance(label.values, str)
    }
    asked = [
        (name, label, value)
        for name, selector in SELECTOR.findall((ROOT / "charts/activity-indexer/templates/_alerts.tpl").read_text())
        for label, values in MATCHER.findall(selector)
        for value in values.split("|")
        if (name, label) in closed
    ]
    assert ("activity_indexer_audit_events_total", "outcome", "dropped") in asked
    assert [each for each in asked if each[2] not in closed[each[:2]]] == []


@needs("helm")
def test_alerts_ask_for_metrics_that_exist() -> None:
    assert len(alerts()) > 15
    for alert in alerts():
        assert METRIC.search(alert["expr"])
        assert not unknown(alert["expr"]), alert["alert"]


@needs("helm")
def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    for alert in alerts():
        page, anchor = alert["annotations"]["runbook_url"].split("#")
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]
        assert page.endswith("runbooks")
        assert anchor in anchors("runbooks.md")


@needs("helm")
def test_an_alert_can_be_left_out() -> None:
    text = template(
        "activity-indexer", "--values", EXAMPLE, "--set", "prometheusRule.disabled={ActivityIndexerKafkaDown}"
    )
    assert "- alert: ActivityIndexerLagHigh" in text
    assert "- alert: ActivityIndexerKafkaDown" not in text
