"""Each alert fires when it should, does not when it should not, and says what is so and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import promtool
import pytest
import yaml
from rendering import ROOT, needs, objects, template

from activity_indexer.telemetry.metrics.events import AGES

CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
BOTH = "prometheusRule.enabled=true,operator.prometheusRule.enabled=true"
pytestmark = needs("helm")


def rules() -> list[dict[str, Any]]:
    """All alerts with the charts' own values."""
    made = objects(template("activity-indexer", "--set", BOTH), "PrometheusRule")
    return [rule for body in made for group in body["spec"]["groups"] for rule in group["rules"]]


def checks() -> list[tuple[str, bool]]:
    """Alert by alert, whether it is to fire at the time that is looked at."""
    groups = [group for path in CASES for group in yaml.safe_load(path.read_text())["tests"]]
    return [(check["alertname"], bool(check["exp_alerts"])) for group in groups for check in group["alert_rule_test"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as a file of Prometheus, and the tests beside it."""
    made = tmp_path_factory.mktemp("rules")
    (made / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules()}]}))
    for path in CASES:
        shutil.copy(path, made)
    return made


@pytest.fixture(scope="module")
def tool(folder: Path) -> Sequence[str]:
    found = promtool.command(folder)
    if found is None:
        pytest.skip(promtool.MISSING)
    return found


def test_prometheus_accepts_the_rules(tool: Sequence[str], folder: Path) -> None:
    done = promtool.run(tool, folder, "check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path, tool: Sequence[str], folder: Path) -> None:
    assert promtool.tested(tool, folder, path.name) == ""


def test_every_alert_is_seen_firing_and_not_firing() -> None:
    known = {rule["alert"] for rule in rules()}
    assert {alert for alert, fires in checks() if fires} == known
    assert {alert for alert, fires in checks() if not fires} == known


def test_every_alert_has_a_section_of_its_own_among_the_runbooks() -> None:
    page = (ROOT / "docs/runbooks.md").read_text()
    heads = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert sorted(heads) == sorted(rule["alert"] for rule in rules())
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"


def test_every_runbook_says_what_it_means_what_to_look_at_and_what_to_do() -> None:
    sections = (ROOT / "docs/runbooks.md").read_text().split("\n### ")[1:]
    for section in sections:
        assert all(part in section for part in ("**Means.**", "**Look.**", "**Do.**")), section.splitlines()[0]


def test_the_objective_is_at_a_bucket_of_the_histogram() -> None:
    schema = yaml.safe_load((ROOT / "charts/activity-indexer/values.schema.json").read_text())
    freshness = schema["properties"]["prometheusRule"]["properties"]["freshness"]
    assert freshness["properties"]["seconds"]["enum"] == list(AGES)
