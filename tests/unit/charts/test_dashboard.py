"""The dashboard: current, complete, and each of its queries finds what indexers and the operator measure."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import promtool
import pytest
import yaml
from prometheus_client import CollectorRegistry
from rendering import CHARTS, needs, objects, template

from activity_indexer.telemetry.metrics.indexer import Metrics as IndexerMetrics
from activity_indexer.telemetry.metrics.instruments import Declaration
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.kube.resources import REPLAYS
from activity_indexer_operator.replay.metrics import ReplayCounters, ReplayMetrics
from activity_indexer_operator.runtime.metrics import GAUGES, Metrics
from activity_indexer_operator.tasks.metrics import ScheduleMetrics

POD = {"namespace": "shop", "pod": "indexer-0"}
CHOSEN = {"$__rate_interval": "5m", "$__range": "30m", "$namespace": "shop", "$pod": ".*"}


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    sys.path.insert(0, str(CHARTS))
    spec = importlib.util.spec_from_file_location("dashboard", CHARTS / "dashboard.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(CHARTS))


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    text = (CHARTS / "activity-indexer/dashboards/activity-indexer.json").read_text()
    return json.loads(text)  # type: ignore[no-any-return]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_dashboard_is_current(generator: ModuleType) -> None:
    assert generator.DASHBOARD.read_text() == generator.current(), "run `make charts`"


def test_every_panel_has_a_unit_and_says_what_it_shows(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]


@needs("helm")
def test_panels_lead_to_the_runbooks_of_alerts_that_there_are(dashboard: dict[str, Any]) -> None:
    both = "prometheusRule.enabled=true,operator.prometheusRule.enabled=true"
    bodies = objects(template("activity-indexer", "--set", both), "PrometheusRule")
    alerts = {rule["alert"] for body in bodies for group in body["spec"]["groups"] for rule in group["rules"]}
    linked = {link["title"]: link["url"] for panel in panels(dashboard) for link in panel["links"]}
    assert set(linked) <= alerts
    assert all(url == f"${{runbooks}}#{title.lower()}" for title, url in linked.items())


@needs("helm")
def test_the_chart_says_the_dashboard_where_the_runbooks_are() -> None:
    values = "dashboard.enabled=true,prometheusRule.runbookUrl=https://runbooks.example.com/aidx"
    bodies = objects(template("activity-indexer", "--set", values), "ConfigMap")
    [made] = [body["data"] for body in bodies if "activity-indexer.json" in body["data"]]
    variables = {each["name"]: each for each in json.loads(made["activity-indexer.json"])["templating"]["list"]}
    assert variables["runbooks"]["query"] == "https://runbooks.example.com/aidx"


def series(name: str, labels: dict[str, str], values: str) -> dict[str, str]:
    inside = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


def measured_by_an_indexer(declaration: Declaration) -> Iterator[dict[str, str]]:
    """A time series for each value of the first label, as an indexer has them."""
    first = declaration.labels[0] if declaration.labels else None
    values = (first.values if first is not None and not isinstance(first.values, str) else ()) or ("0",)
    others = {
        label.name: str(label.values[0]) if not isinstance(label.values, str) else "x"
        for label in declaration.labels[1:]
    }
    for value in values if first else ("",):
        labels = POD | ({first.name: str(value)} if first else {}) | others
        if declaration.kind == "histogram":
            for bound in (*map(float, declaration.buckets), "+Inf"):
                yield series(f"{declaration.full_name}_bucket", labels | {"le": str(bound)}, "0+4x40")
            yield series(f"{declaration.full_name}_sum", labels, "0+2x40")
            yield series(f"{declaration.full_name}_count", labels, "0+4x40")
        else:
            yield series(declaration.full_name, labels, "0+3x40" if declaration.kind == "counter" else "1x40")


def measured_by_the_operator() -> Iterator[dict[str, str]]:
    """What the operator's own registry says after a little of everything; its `namespace` has another name then."""
    metrics, seen, key = Metrics(), ObjectCache(), Key("activityindexers", "shop", "orders")
    registry: CollectorRegistry = metrics.registry
    registry.register(ReplayMetrics(seen, lambda: True))
    registry.register(ScheduleMetrics(seen, lambda: True))
    about = {"name": "r", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"}
    seen.put(REPLAYS, {"kind": "DeadLetterReplay", "metadata": about, "spec": {"indexerRef": {"name": "orders"}}})
    metrics.pass_ended("activityindexers", "done", 0.1)
    metrics.scaled(key, 1, 2)
    ReplayCounters(registry).finished("shop", "Failed")
    metrics.show(key, dict.fromkeys(GAUGES, 1.0))
    for sample in (sample for family in registry.collect() for sample in family.samples):
        labels = {"exported_namespace" if name == "namespace" else name: value for name, value in sample.labels.items()}
        yield series(sample.name, {"namespace": "shop", "pod": "operator-0"} | labels, f"{sample.value}+1x40")


def test_every_query_finds_what_is_measured(dashboard: dict[str, Any], tmp_path: Path) -> None:
    if (tool := promtool.command(tmp_path)) is None:
        pytest.skip(promtool.MISSING)
    process = ("process_cpu_seconds_total", "process_resident_memory_bytes")
    measured = [each for declaration in IndexerMetrics().declarations for each in measured_by_an_indexer(declaration)]
    measured += [series(name, POD, "0+1x40") for name in process] + list(measured_by_the_operator())
    asked = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    for variable, value in CHOSEN.items():
        asked = [query.replace(variable, value) for query in asked]
    found = [
        {"expr": f"count({query}) > bool 0", "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": 1}]}
        for query in asked
    ]
    tests = [{"interval": "1m", "input_series": measured, "promql_expr_test": found}]
    (tmp_path / "dashboard.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    assert promtool.tested(tool, tmp_path, "dashboard.yaml") == ""
