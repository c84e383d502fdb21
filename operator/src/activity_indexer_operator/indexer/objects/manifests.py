"""The objects of an indexer that the operator runs: values in, values out, no I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from activity_indexer_operator.indexer.objects.environment import HTTP_PORT, environment
from activity_indexer_operator.indexer.objects.pod import CONTAINER, pod_spec
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.indexer.template import Template
from activity_indexer_operator.kube.objects import GROUP, MANAGER, Meta, owner_reference
from activity_indexer_operator.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    WORKLOADS,
    Resource,
)

CONFIG_HASH: Final = f"{GROUP}/config-hash"
"""On the pods: their configuration; another one rolls them."""
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
"""On the pods: the container that kubectl means, where others are added."""
LAST_GOOD: Final = f"{GROUP}/last-good-spec"
"""On the ConfigMap: the spec that all of this was made from."""
MIN_READY_SECONDS: Final = 5
PROGRESS_SECONDS: Final = 600
"""Time without progress of a rollout after which the Deployment reports it: longer than a pod may take to start."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An object that is to be."""

    resource: Resource
    body: dict[str, Any]

    @property
    def place(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.body["metadata"]["namespace"], self.body["metadata"]["name"]


def workload_resource(spec: Spec) -> Resource:
    """The kind of what runs the indexer."""
    return WORKLOADS[spec.workload.target_ref.kind] if spec.workload.target_ref else DEPLOYMENTS


def selector_labels(name: str) -> dict[str, str]:
    """Labels by which pods of an indexer are found; they never change."""
    return {
        "app.kubernetes.io/name": "activity-indexer",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "indexer",
    }


def manifests(meta: Meta, spec: Spec, template: Template, image: str) -> tuple[Manifest, ...]:
    """All objects of the indexer, the workload last; `image` is used where the template names none."""
    maker = _Maker(meta, spec, template, image)
    account = () if template.service_account.name else (maker.service_account(),)
    return (*account, maker.config_map(), maker.service(), maker.disruption_budget(), maker.workload())


class _Maker:
    def __init__(self, meta: Meta, spec: Spec, template: Template, image: str) -> None:
        self._meta, self._spec, self._template, self._image = meta, spec, template, image
        self._selector = selector_labels(meta.key.name)
        self._labels = self._selector | {
            "app.kubernetes.io/part-of": "activity-indexer",
            "app.kubernetes.io/managed-by": MANAGER,
        }
        self._environment = environment(spec, template)

    def service_account(self) -> Manifest:
        annotations = self._template.service_account.annotations
        return self._made(SERVICE_ACCOUNTS, {"automountServiceAccountToken": False}, annotations)

    def config_map(self) -> Manifest:
        accepted = json.dumps(msgspec.to_builtins(self._spec), sort_keys=True, separators=(",", ":"))
        return self._made(CONFIG_MAPS, {"data": self._environment.plain}, {LAST_GOOD: accepted})

    def service(self) -> Manifest:
        port = {"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}
        annotations = {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(HTTP_PORT),
            "prometheus.io/path": "/metrics",
        }
        return self._made(SERVICES, {"spec": {"selector": self._selector, "ports": [port]}}, annotations)

    def disruption_budget(self) -> Manifest:
        spec = {
            "maxUnavailable": self._template.max_unavailable,
            # A pod that never gets ready must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": self._selector},
        }
        return self._made(DISRUPTION_BUDGETS, {"spec": spec})

    def workload(self) -> Manifest:
        """Without `replicas`: these are set by the scale subresource alone."""
        plain = json.dumps(self._environment.plain, sort_keys=True).encode()
        pod = {
            "metadata": {
                "labels": self._template.pod_labels | self._labels,
                "annotations": {
                    DEFAULT_CONTAINER: CONTAINER,
                    **self._template.pod_annotations,
                    CONFIG_HASH: hashlib.blake2b(plain, digest_size=8).hexdigest(),
                },
            },
            "spec": pod_spec(self._meta.key.name, self._template, self._environment, self._selector, self._image),
        }
        spec = {
            "selector": {"matchLabels": self._selector},
            "minReadySeconds": MIN_READY_SECONDS,
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "revisionHistoryLimit": 5,
            # One pod after the other: each change of the group stops all of it for a moment.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": self._template.max_unavailable},
            },
            "template": pod,
        }
        return self._made(DEPLOYMENTS, {"spec": spec})

    def _made(self, resource: Resource, content: dict[str, Any], annotations: dict[str, str] | None = None) -> Manifest:
        metadata: dict[str, Any] = {
            "name": self._meta.key.name,
            "namespace": self._meta.key.namespace,
            "labels": self._labels,
            "ownerReferences": [owner_reference(self._meta)],
        }
        if annotations:
            metadata["annotations"] = annotations
        marks = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
        return Manifest(resource, marks | content)
