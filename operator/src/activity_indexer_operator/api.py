"""Typed views of an ActivityIndexer, as k8s/crd/activityindexers.yaml describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

GROUP: Final = "activityindexer.io"
VERSION: Final = "v1alpha1"
PLURAL: Final = "activityindexers"
KIND: Final = "ActivityIndexer"

Text = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which object: namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.namespace}/{self.name}"


class _View(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of the object; fields that are not known here are left alone."""


class Kafka(_View, frozen=True):
    """The topic whose partitions count, and the group that reads it."""

    bootstrap_servers: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    topic: Text
    group: Text


class TargetRef(_View, frozen=True):
    """The workload to scale, in the object's own namespace."""

    name: Text
    kind: Literal["Deployment"] = "Deployment"


class Workload(_View, frozen=True):
    """What runs the indexer."""

    target_ref: TargetRef


class Scaling(_View, frozen=True):
    """Replicas at least and at most, and how many partitions one replica takes."""

    min: Natural = 1
    max: Positive = 64
    partitions_per_replica: Positive = 1

    def __post_init__(self) -> None:
        """Refuse limits that leave no number between them."""
        if self.min > self.max:
            raise ValueError(f"scaling.min ({self.min}) must not exceed scaling.max ({self.max})")


class Spec(_View, frozen=True):
    """What is wanted."""

    kafka: Kafka
    workload: Workload
    scaling: Scaling = Scaling()


class Condition(_View, frozen=True, omit_defaults=False):
    """One statement about the object, in Kubernetes' form."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str = ""
    observed_generation: int = 0


class Status(_View, frozen=True):
    """What was seen and done; a number that is not known is absent, never zero."""

    observed_generation: int | None = None
    partitions: int | None = None
    desired_replicas: int | None = None
    replicas: int | None = None
    lag: int | None = None
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class InvalidSpec:
    """Why a spec cannot be used; the API server lets none in, but an older schema may have."""

    message: str


@dataclass(frozen=True, slots=True)
class ActivityIndexer:
    """One object as it was read."""

    key: Key
    generation: int
    spec: Spec | InvalidSpec
    status: Status


def parse(body: Mapping[str, Any]) -> ActivityIndexer:
    """The object behind the API server's JSON; an unreadable status counts as none."""
    meta = body["metadata"]
    return ActivityIndexer(
        key=Key(meta["namespace"], meta["name"]),
        generation=int(meta.get("generation", 0)),
        spec=_spec(body.get("spec", {})),
        status=_status(body.get("status", {})),
    )


def _spec(value: Any) -> Spec | InvalidSpec:
    try:
        return msgspec.convert(value, Spec)
    except msgspec.ValidationError as error:
        return InvalidSpec(f"spec: {error}")


def _status(value: Any) -> Status:
    try:
        return msgspec.convert(value, Status)
    except msgspec.ValidationError:
        return Status()
