"""The pod of a Job, made of the indexer's own: the same image, environment, volumes and rights, another command."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

PROGRAM: Final = "activity-indexer"
RESULT_FILE: Final = "/dev/termination-log"
"""Where Kubernetes takes a container's last words from."""
INDEXER_CONTAINER: Final = "indexer"
_SERVING: Final = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
_PLACING: Final = ("topologySpreadConstraints", "hostname", "subdomain", "nodeName", "hostAliases")


def job_pod(
    template: Mapping[str, Any], arguments: Sequence[str], resources: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The pod spec of a Job from the pod template of the indexer's workload.

    Other containers are left out: one that never ends would keep the Job from ending. Labels and annotations are not
    taken over, so that no Service, disruption budget or selector of the indexer counts this pod as one of its own.
    """
    spec = copy.deepcopy({name: value for name, value in template["spec"].items() if name not in _PLACING})
    container = _job_container(indexer_container(spec), arguments)
    if resources is not None:
        container["resources"] = dict(resources)
    affinity = spec.pop("affinity", {}).get("nodeAffinity")
    return spec | {
        **({"affinity": {"nodeAffinity": affinity}} if affinity else {}),
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": spec.get("automountServiceAccountToken", False),
        "enableServiceLinks": spec.get("enableServiceLinks", False),
        "securityContext": _restricted_pod(spec.get("securityContext", {})),
    }


def _job_container(container: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    # Kubernetes replaces $(NAME) in arguments; a doubled dollar stands for itself.
    command, given = _command(container, [word.replace("$(", "$$(") for word in arguments])
    kept = {name: value for name, value in container.items() if name not in (*_SERVING, "command", "args")}
    return kept | {
        **({"command": command} if command else {}),
        "args": given,
        "terminationMessagePath": RESULT_FILE,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": _restricted_container(container.get("securityContext", {})),
    }


def indexer_container(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The container that runs the indexer: the one of that name, or else the first."""
    containers: list[dict[str, Any]] = spec["containers"]
    return next((each for each in containers if each["name"] == INDEXER_CONTAINER), containers[0])


def set_variable(container: dict[str, Any], name: str, value: str) -> None:
    """Gives a variable to a container, whatever value it has there."""
    others = [each for each in container.get("env") or () if each["name"] != name]
    container["env"] = [*others, {"name": name, "value": value}]


def _command(container: Mapping[str, Any], arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Entry point and arguments: what stands before the program's name (an init, a wrapper) stays there."""
    command: list[str] = list(container.get("command") or ())
    given: list[str] = list(container.get("args") or ())
    if PROGRAM in given:
        return command, [*given[: given.index(PROGRAM)], PROGRAM, *arguments]
    if PROGRAM in command:
        return command[: command.index(PROGRAM) + 1], list(arguments)
    if command:
        return [PROGRAM], list(arguments)
    return [], [PROGRAM, *arguments]


def _restricted_pod(given: Mapping[str, Any]) -> dict[str, Any]:
    """What Pod Security `restricted` asks for, where the indexer's own pod does not say otherwise."""
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}} | dict(given)


def _restricted_container(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}} | dict(given)
