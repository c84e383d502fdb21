"""The manifests' rights against the operator's own code; end-to-end tests compare them with what was really asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from e2e.api_audit import asked, forbidden
from e2e.rights import Right, granted, with_creations
from fixtures.operator import World

from activity_indexer_operator.app import controllers

ROLE = Path(__file__).parents[3] / "k8s" / "operator" / "rbac.yaml"


def role() -> set[Right]:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(ROLE.read_text(encoding="utf-8")))
    [rules] = [document["rules"] for document in documents if document["kind"] == "Role"]
    return granted(rules)


def watched() -> set[str]:
    resources = {watch.resource for each in controllers(World().context()) for watch in each.watches}
    return {f"{resource.group}/{resource.plural}" if resource.group else resource.plural for resource in resources}


def test_what_is_watched_may_be_and_nothing_else() -> None:
    watches = {resource for verb, resource in role() if verb == "watch"}
    assert watches == watched()
    assert {(verb, resource) for verb in ("list", "watch") for resource in watches} <= role()


def test_secrets_are_nobodys_by_default_and_nothing_is_allowed_by_a_star() -> None:
    assert not [right for right in role() if "secrets" in right[1] or "*" in "".join(right)]


def request(user: str, verb: str, code: int, **reference: str) -> str:
    entry = {"verb": verb, "user": {"username": user}, "requestURI": "/path", "responseStatus": {"code": code}}
    return json.dumps(entry | ({"objectRef": reference} if reference else {}))


def test_what_was_asked_is_read_from_the_audit_log() -> None:
    log = [
        request("us", "patch", 200, apiGroup="apps", resource="deployments", subresource="scale"),
        request("us", "patch", 201, resource="services"),
        request("us", "get", 404, resource="services"),
        request("us", "list", 403, resource="secrets"),
        request("us", "get", 200),
        request("us too", "delete", 200, resource="pods"),
    ]
    assert asked(log, "us") == {("patch", "apps/deployments/scale"), ("patch", "services"), ("get", "services")}
    assert with_creations(asked(log, "us")) - asked(log, "us") == {("create", "services")}
    assert forbidden(log, "us") == ["list /path"]
