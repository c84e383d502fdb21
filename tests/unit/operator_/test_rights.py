"""The manifests' rights against the operator's own code; end-to-end tests compare them with what was really asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from e2e.rights import Right, granted, used
from operator_support import World

from activity_indexer_operator.__main__ import PARTS

ROLE = Path(__file__).parents[3] / "k8s" / "operator" / "rbac.yaml"


def role() -> set[Right]:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(ROLE.read_text(encoding="utf-8")))
    [rules] = [document["rules"] for document in documents if document["kind"] == "Role"]
    return granted(rules)


def watched() -> set[str]:
    resources = {watch.resource for make in PARTS for watch in make(World().tools()).watches}
    return {f"{resource.group}/{resource.plural}" if resource.group else resource.plural for resource in resources}


def test_what_is_watched_may_be_and_nothing_else() -> None:
    watches = {resource for verb, resource in role() if verb == "watch"}
    assert watches == watched()
    assert used("", watched()) <= role()


def test_secrets_are_nobodys_by_default_and_nothing_is_allowed_by_a_star() -> None:
    assert not [right for right in role() if "secrets" in right[1] or "*" in "".join(right)]


def test_requests_are_read_from_the_metrics() -> None:
    metrics = 'activity_indexer_operator_api_requests_total{resource="apps/deployments",verb="patch"} 4.0\n'
    assert used(metrics, ["services"]) == {
        ("patch", "apps/deployments"), ("create", "apps/deployments"), ("list", "services"), ("watch", "services"),
    }  # fmt: skip
