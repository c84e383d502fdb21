"""The pod of an indexer: values in, values out, no I/O."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from activity_common import setting_names as names
from activity_indexer_operator.indexer.objects.environment import FILES, HTTP_PORT, Environment
from activity_indexer_operator.indexer.template import Template

GRACE_SECONDS: Final = 15
"""What the grace period of a pod is above the shutdown limit."""
CONTAINER: Final = "indexer"
USER: Final = 65532
BUDGET_VARIABLE: Final = names.CONSUMER_MEMORY_BUDGET
MEBIBYTE: Final = 1024 * 1024
DEFAULT_BUDGET: Final = 256 * MEBIBYTE
"""What the indexer's memory budget is unless the variable says otherwise (bytes)."""

BESIDE_BUDGET: Final = 256 * MEBIBYTE
"""What its process takes beside the budget (bytes)."""


def pod_spec(
    name: str, template: Template, environment: Environment, selector: dict[str, str], image: str
) -> dict[str, Any]:
    """Passes Pod Security `restricted`; without a token, service links and a writable root."""
    folders = {file.folder: file.secret for file in environment.files}
    spread = template.topology_spread_constraints
    spec: dict[str, Any] = {
        "serviceAccountName": template.service_account.name or name,
        "automountServiceAccountToken": False,
        # With links a Service "kafka" would put KAFKA_PORT and the like among the settings.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": template.shutdown_timeout_seconds + GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [_evenly(selector)] if spread is None else list(spread),
        "containers": [_container(name, template, environment, image)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            *({"name": folder, "secret": {"secretName": secret}} for folder, secret in folders.items()),
            *template.extra_volumes,
        ],
    }
    placed = {
        "imagePullSecrets": msgspec.to_builtins(template.image_pull_secrets),
        "nodeSelector": template.node_selector,
        "tolerations": list(template.tolerations),
        "affinity": template.affinity,
        "priorityClassName": template.priority_class_name,
    }
    return spec | {field: value for field, value in placed.items() if value}


def _container(name: str, template: Template, environment: Environment, image: str) -> dict[str, Any]:
    folders = dict.fromkeys(file.folder for file in environment.files)
    files = [{"name": folder, "mountPath": f"{FILES}/{folder}", "readOnly": True} for folder in folders]
    return {  # neither command nor args: the image itself holds what it runs
        "name": CONTAINER,
        "image": template.image or image,
        "imagePullPolicy": template.image_pull_policy,
        "envFrom": [{"configMapRef": {"name": name}}, *template.extra_env_from],
        "env": _variables(template, environment),
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        # The indexer waits for servers that are not up yet; five minutes for all of them.
        "startupProbe": _probe("/startupz", period=2, failures=150, timeout=2),
        "readinessProbe": _probe("/readyz", period=5, failures=3, timeout=3),
        "livenessProbe": _probe("/livez", period=10, failures=3, timeout=5),
        "resources": template.resources or _resources(template),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
            *files,
            *template.extra_volume_mounts,
        ],
    }


def _resources(template: Template) -> dict[str, Any]:
    """No CPU limit: throttling would delay the group's heartbeats. The limit of memory follows from the budget."""
    given = next((str(each.get("value")) for each in template.extra_env if each.get("name") == BUDGET_VARIABLE), "")
    budget = int(given) if given.isdecimal() else DEFAULT_BUDGET
    limit = -(-(budget + BESIDE_BUDGET) // MEBIBYTE)
    return {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": f"{limit}Mi"}}


def _variables(template: Template, environment: Environment) -> list[dict[str, Any]]:
    """The user's variables replace those from the fields."""
    own: dict[str, dict[str, Any]] = {}
    for secret in environment.secrets:
        reference: dict[str, Any] = {"name": secret.ref.name, "key": secret.ref.key}
        own[secret.variable] = {"secretKeyRef": reference | ({"optional": True} if secret.optional else {})}
    given = {str(variable.get("name")) for variable in template.extra_env}
    made = [{"name": name, "valueFrom": source} for name, source in own.items() if name not in given]
    return [*made, *template.extra_env]


def _evenly(selector: dict[str, str]) -> dict[str, Any]:
    """Pods are spread over nodes where that is possible."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector},
    }


def _probe(path: str, *, period: int, failures: int, timeout: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": timeout,
    }
