"""Rights that the operator has, and those that it uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Right = tuple[str, str]
"""Verb, and group/resource/subresource; the core group is empty."""

_APPLIED: Final = re.compile(r"^(apps/deployments|configmaps|services|serviceaccounts|policy/poddisruptionbudgets)$")


def granted(rules: Iterable[Mapping[str, Any]]) -> set[Right]:
    """What the rules of a Role allow."""
    return {
        (verb, f"{group}/{resource}" if group else resource)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def with_creations(asked: set[Right]) -> set[Right]:
    """The same with what server-side apply asks for besides: `create`, for what is not there yet."""
    return asked | {("create", resource) for verb, resource in asked if verb == "patch" and _APPLIED.match(resource)}
