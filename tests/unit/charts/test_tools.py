"""The charts before their own tools: lint, unit tests, schemas, generated pages, goldens."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHARTS, EXAMPLES, KNOWN, NAMES, ROOT, needs, objects, run, template

GOLDENS = ROOT / "tests/goldens"
FOLDERS = sorted(str(path.parent.relative_to(ROOT)) for path in (ROOT / "k8s").rglob("kustomization.yaml"))
RULES = re.compile(
    r"(^# Source: \S*operator/templates/rbac\.yaml\n(?:(?!^---).*\n)*?^rules:\n)(?:(?!^---).*\n)*", re.MULTILINE
)


@needs("helm")
@pytest.mark.parametrize("chart", NAMES)
def test_lint_finds_nothing(chart: str) -> None:
    run("helm", "lint", "--strict", f"charts/{chart}")


@needs("helm")
@pytest.mark.parametrize("chart", NAMES)
def test_the_unit_tests_of_the_chart_pass(chart: str) -> None:
    if "unittest" not in run("helm", "plugin", "list").stdout:
        pytest.skip("needs the plugin helm-unittest")
    run("helm", "unittest", "--strict", "--with-subchart=false", f"charts/{chart}")


@needs("helm")
def test_the_lock_fits_the_dependencies() -> None:
    listed = run("helm", "dependency", "list", "charts/activity-indexer").stdout
    assert re.search(r"activity-indexer-operator\s.*\sunpacked", listed) or re.search(r"\sok\s", listed), listed
    lock = yaml.safe_load((CHARTS / "activity-indexer/Chart.lock").read_text())
    chart = yaml.safe_load((CHARTS / "activity-indexer/Chart.yaml").read_text())
    assert [(d["name"], d["version"]) for d in lock["dependencies"]] == [
        (d["name"], d["version"]) for d in chart["dependencies"]
    ]


def test_the_schema_knows_every_setting() -> None:
    spec = importlib.util.spec_from_file_location("values_schema", CHARTS / "values_schema.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.SCHEMA.read_text() == module.current(), "run `make charts`"


@needs("helm-docs")
@pytest.mark.parametrize("chart", NAMES)
def test_the_readme_is_current(chart: str) -> None:
    printed = run("helm-docs", "--dry-run", "--chart-search-root", "charts", "--chart-to-generate", f"charts/{chart}")
    assert printed.stdout.strip() == (CHARTS / chart / "README.md").read_text().strip(), "run `make charts`"


@needs("helm")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parents[1].name}:{path.stem}")
def test_an_example_renders_as_it_did(example: Path) -> None:
    """`UPDATE_GOLDENS=1` writes what it renders now; the difference is there to be read."""
    chart = example.parents[1].name
    without_crds = ("--set", "operator.crds.enabled=false" if chart == "activity-indexer" else "crds.enabled=false")
    text = RULES.sub(r"\1# as in k8s/operator/rbac.yaml\n", template(chart, "--values", str(example), *without_crds))
    golden = GOLDENS / chart / example.name
    if os.environ.get("UPDATE_GOLDENS"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), "run `make charts` and read the difference"


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD's schema as JSON Schema that refuses unknown fields, as the API server does."""
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if "properties" in kept:
        kept["properties"] = {name: closed(part) for name, part in kept["properties"].items()}
        kept.setdefault("additionalProperties", bool(schema.get("x-kubernetes-preserve-unknown-fields")))
    if isinstance(kept.get("items"), dict):
        kept["items"] = closed(kept["items"])
    return kept


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a schema for each of our kinds."""
    folder = tmp_path_factory.mktemp("schemas")
    for path in (ROOT / "k8s/crd").glob("*.yaml"):
        for crd in objects(path.read_text(), "CustomResourceDefinition"):
            schema = closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
            for plain in ("apiVersion", "kind", "metadata"):
                schema["properties"][plain] = {}
            (folder / f"{crd['spec']['names']['kind'].lower()}.json").write_text(json.dumps(schema))
    return folder


def conforming(text: str, schemas: Path) -> None:
    ours = [body for body in objects(text) if body["apiVersion"].startswith("activityindexer.io/")]
    location = f"{schemas}/{{{{ .ResourceKind }}}}.json"
    run("kubeconform", "-strict", "-schema-location", location, stdin=yaml.safe_dump_all(ours))


@needs("helm", "kubeconform")
@pytest.mark.parametrize("mode", ["deployment", "resource"])
@pytest.mark.parametrize(
    "example", sorted((CHARTS / "activity-indexer/examples").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_resource_fits_its_crd(example: Path, mode: str, schemas: Path) -> None:
    text = template(
        "activity-indexer", "--api-versions", KNOWN, "--values", str(example),
        "--set", f"mode={mode},activityIndexer.enabled=true",
    )  # fmt: skip
    assert objects(text, "ActivityIndexer")
    conforming(text, schemas)


@needs("kubectl")
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_k8s_can_be_built(folder: str) -> None:
    assert run("kubectl", "kustomize", folder).stdout


@needs("kubectl", "kubeconform")
@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if "/samples/" in folder])
def test_a_sample_fits_its_crd(folder: str, schemas: Path) -> None:
    conforming(run("kubectl", "kustomize", folder).stdout, schemas)
