"""Rights that the operator has, and those that it uses: its metrics count its requests; watches are kopf's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Right = tuple[str, str]
"""Verb, and group/resource/subresource; the core group is empty."""

CREATED_BY_APPLY = re.compile(r"^(apps/deployments|configmaps|services|serviceaccounts|policy/poddisruptionbudgets)$")
"""Server-side apply of what is not there yet needs `create` beside `patch`."""
_COUNTER = re.compile(
    r'^activity_indexer_operator_api_requests_total\{resource="([^"]+)",verb="([^"]+)"\}', re.MULTILINE
)


def granted(rules: Iterable[Mapping[str, Any]]) -> set[Right]:
    """What the rules of a Role allow."""
    return {
        (verb, f"{group}/{resource}" if group else resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(metrics: str, watched: Iterable[str]) -> set[Right]:
    """What the operator has asked for, by its metrics, and what it watches."""
    asked = {(verb, resource) for resource, verb in _COUNTER.findall(metrics)}
    created = {("create", resource) for verb, resource in asked if verb == "patch" and CREATED_BY_APPLY.match(resource)}
    return asked | created | {(verb, resource) for resource in watched for verb in ("list", "watch")}
