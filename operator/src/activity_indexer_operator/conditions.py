"""What the status says about an object: values in, values out, no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from activity_indexer_operator.api import Condition, InvalidSpec, Spec
from activity_indexer_operator.decide import Decision, Limit, Number, Unknown


def conditions_for(spec: Spec, partitions: Number, replicas: Number, decision: Decision) -> tuple[Condition, ...]:
    """Ready and ScalingLimited; both change only when something did."""
    return _ready(spec, partitions, replicas), _limited(spec, decision)


def invalid(spec: InvalidSpec) -> tuple[Condition, ...]:
    """The conditions of an object that cannot be acted upon."""
    return (Condition("Ready", "False", "SpecInvalid", spec.message),)


def merge(
    previous: Iterable[Condition], current: Iterable[Condition], now: str, generation: int
) -> tuple[Condition, ...]:
    """The current conditions; one whose status is as before keeps the time of its last change."""
    times = {(old.type, old.status): old.last_transition_time for old in previous}
    return tuple(
        replace(new, last_transition_time=times.get((new.type, new.status)) or now, observed_generation=generation)
        for new in current
    )


def _ready(spec: Spec, partitions: Number, replicas: Number) -> Condition:
    for number in (partitions, replicas):
        if isinstance(number, Unknown):
            return Condition("Ready", "False", number.reason, f"{number.message}; the replicas are left as they are")
    target = spec.workload.target_ref
    return Condition("Ready", "True", "Following", f"{target.kind} {target.name} follows topic {spec.kafka.topic}")


def _limited(spec: Spec, decision: Decision) -> Condition:
    if decision.desired is None:
        return Condition("ScalingLimited", "Unknown", "PartitionsUnknown", "the partition count is not known")
    if decision.limit is Limit.NONE:
        return Condition("ScalingLimited", "False", decision.limit, "the replicas follow the partition count")
    bound = "min" if decision.limit is Limit.MINIMUM else "max"
    message = (
        f"spec.scaling.{bound} ({getattr(spec.scaling, bound)}) keeps the replicas from following the partition count"
    )
    return Condition("ScalingLimited", "True", decision.limit, message)
