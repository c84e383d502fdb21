"""An ActivityIndexer as it was read, its workload, and what the operator remembers of it: values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from activity_indexer_operator.indexer.lag_policy import LagState
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.indexer.status import CONDITIONS, Status
from activity_indexer_operator.kube.objects import Body, InvalidSpec, Meta, meta_of, parsed_spec, parsed_status


@dataclass(frozen=True, slots=True)
class ActivityIndexer:
    """One object; `body` is what the API server gave."""

    meta: Meta
    spec: Spec | InvalidSpec
    status: Status
    body: Body


def parse(body: Body) -> ActivityIndexer:
    """The object behind the API server's JSON, with our own conditions."""
    status = parsed_status(body, Status)
    return ActivityIndexer(
        meta=meta_of(body),
        spec=parsed_spec(body, Spec),
        status=replace(status, conditions=tuple(c for c in status.conditions if c.type in CONDITIONS)),
        body=body,
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet. `settled`: its pods are all new, ready and as many as set."""

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


@dataclass(slots=True)
class Memory:
    """What the operator remembers of an object between passes. All of it may be lost: then it observes it again.

    `good` is the last spec that was accepted, with its generation; `applied` the fingerprints, by kind, of what was
    applied and of what the API server made of it; `misses` the looks at Kafka in a row that showed nothing. `still`
    has, by partition with a lag, the group's position and since when it is that (seconds of the reconciler's clock).
    """

    good: tuple[int, Spec] | None = None
    applied: dict[str, tuple[str, str]] = field(default_factory=dict)
    misses: int = 0
    shrunk_to: int | None = None
    lag: LagState = field(default_factory=LagState)
    still: dict[int, tuple[int, float]] = field(default_factory=dict)
    written_at: float = float("-inf")
