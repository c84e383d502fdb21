"""What is seen of a workload: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass

from activity_indexer_operator.kafka.observation import Unknown
from activity_indexer_operator.kube.objects import Body


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet as last seen. `settled`: its pods are all new, ready and as many as set."""

    kind: str
    name: str
    replicas: int
    ready: int
    selector: str
    settled: bool
    stuck: bool


def workload_of(body: Body) -> Workload:
    """The view of a Deployment's or StatefulSet's body."""
    meta, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    replicas, ready = int(spec.get("replicas", 1)), int(status.get("readyReplicas", 0))
    current = int(status.get("observedGeneration", 0)) >= int(meta.get("generation", 0))
    updated = int(status.get("updatedReplicas", 0))
    return Workload(
        kind=body["kind"],
        name=meta["name"],
        replicas=replicas,
        ready=ready,
        selector=",".join(f"{k}={v}" for k, v in sorted(spec.get("selector", {}).get("matchLabels", {}).items())),
        settled=current and updated == ready == replicas == int(status.get("replicas", 0)),
        stuck=any(c.get("reason") == "ProgressDeadlineExceeded" for c in status.get("conditions", ())),
    )


def not_found(kind: str, namespace: str, name: str) -> Unknown:
    """For a workload that is not there."""
    return Unknown("TargetNotFound", f"there is no {kind} {namespace}/{name}")
