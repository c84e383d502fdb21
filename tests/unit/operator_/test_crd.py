"""k8s/crd/activityindexers.yaml and the operator's view of it say the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml

from activity_indexer.redis_url import PATTERN
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.indexer.status import CONDITIONS, Status
from activity_indexer_operator.kube.objects import View

ROOT = Path(__file__).parents[3]
CRD = ROOT / "k8s" / "crd" / "activityindexers.yaml"


def test_the_crds_are_those_of_the_views() -> None:
    done = subprocess.run(
        [sys.executable, "charts/crds.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def version() -> dict[str, Any]:
    text = CRD.read_text(encoding="utf-8")
    assert "&id" not in text, "anchors make it hard to read"
    found: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"][0]
    return found


@pytest.fixture(scope="module")
def schema(version: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]
    return found


def properties(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from properties(child, f"{path}.{name}")
    if isinstance(node.get("items"), dict):
        yield from properties(node["items"], f"{path}[]")


def view_of(kind: Any) -> type[View] | None:
    """The view behind an annotation such as `Batch | None`."""
    for candidate in (kind, *(get_args(kind) if get_origin(kind) in {Union, UnionType} else ())):
        if isinstance(candidate, type) and issubclass(candidate, View):
            return candidate
    return None


def differences(view: type[View], node: dict[str, Any], path: str) -> Iterator[str]:
    hints = get_type_hints(view)
    for field in msgspec.structs.fields(view):
        child = node.get("properties", {}).get(field.encode_name)
        if child is None:
            yield f"{path}.{field.encode_name} is not in the schema"
            continue
        if (inner := view_of(hints[field.name])) is not None:
            yield from differences(inner, child, f"{path}.{field.encode_name}")
        elif "default" in child and child["default"] != field.default:
            yield f"{path}.{field.encode_name}: {child['default']!r} in the schema, {field.default!r} in the view"


def test_every_field_of_the_spec_is_in_the_schema_with_the_same_default(schema: dict[str, Any]) -> None:
    assert list(differences(Spec, schema["spec"], "spec")) == []


def test_every_field_of_the_status_is_in_the_schema(schema: dict[str, Any]) -> None:
    assert list(differences(Status, schema["status"], "status")) == []


def test_every_field_is_described(schema: dict[str, Any]) -> None:
    spec, status = properties(schema["spec"], "spec"), properties(schema["status"], "status")
    assert [path for path, node in (*spec, *status) if not node.get("description")] == []


def test_every_rule_says_what_to_do(schema: dict[str, Any]) -> None:
    rules = [rule for _, node in properties(schema["spec"]) for rule in node.get("x-kubernetes-validations", ())]
    assert len(rules) > 8
    assert all(len(rule["message"]) > 20 for rule in rules)


def test_replicas_are_scaled_and_selected_through_the_subresource(version: dict[str, Any]) -> None:
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


def test_columns_point_to_fields_that_are_there(version: dict[str, Any], schema: dict[str, Any]) -> None:
    known = {path for path, _ in (*properties(schema["spec"], ".spec"), *properties(schema["status"], ".status"))}
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[?(")[0]
        assert path in known or path == ".metadata.creationTimestamp", column


def test_conditions_are_a_map_so_that_several_may_write_them(schema: dict[str, Any]) -> None:
    conditions = schema["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert all(kind in conditions["description"] for kind in CONDITIONS)


def test_an_address_of_redis_is_what_the_indexer_takes(schema: dict[str, Any]) -> None:
    found = dict(properties(schema["spec"]))
    (path,) = [name for name in found if name.endswith(".redis.url")]
    assert found[path]["pattern"] == PATTERN
