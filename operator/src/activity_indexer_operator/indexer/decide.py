"""How many replicas a workload should have: values in, values out, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from activity_indexer_operator.indexer.lag_policy import Need
from activity_indexer_operator.indexer.spec import Mode, Policy, Scaling
from activity_indexer_operator.kafka.observation import Number, Unknown


class Limit(StrEnum):
    """What kept the replicas from what the policy asks for; reasons of the condition ScalingLimited."""

    NONE = "DesiredWithinRange"
    MINIMUM = "AtMinimum"
    MAXIMUM = "AtMaximum"
    PARTITIONS = "AtPartitions"
    UNKNOWN = "PartitionsUnknown"


class Why(StrEnum):
    """Where the number comes from; the policy Lag has further reasons."""

    PARTITIONS = "PartitionCount"
    MANUAL = "Manual"
    SUSPENDED = "Suspended"
    UNKNOWN = "PartitionsUnknown"


@dataclass(frozen=True, slots=True)
class Decision:
    """`desired` is None where it is not known; `scale_to` is None where nothing has to be done."""

    desired: int | None
    scale_to: int | None
    limit: Limit
    reason: str
    message: str


def decide(mode: Mode, scaling: Scaling, partitions: Number, replicas: Number, need: Need | None = None) -> Decision:
    """What to do with a workload of `replicas` for a topic of `partitions`; `need` is what the policy Lag found.

    Without both numbers nothing is done, except that Suspended removes all replicas whatever the brokers report.
    """
    if mode is Mode.SUSPENDED:
        wanted = Decision(0, None, Limit.NONE, Why.SUSPENDED, "spec.mode is Suspended")
    else:
        wanted = _wanted(scaling, partitions, need)
    acts = mode in {Mode.ACTIVE, Mode.SUSPENDED}
    if not acts or wanted.desired is None or isinstance(replicas, Unknown) or replicas == wanted.desired:
        return wanted
    return replace(wanted, scale_to=wanted.desired)


def bounded(wanted: int, partitions: int, scaling: Scaling) -> tuple[int, Limit]:
    """Within min and max, and never above the partitions."""
    number, limit = wanted, Limit.NONE
    if number < scaling.min_replicas:
        number, limit = scaling.min_replicas, Limit.MINIMUM
    if number > scaling.max_replicas:
        number, limit = scaling.max_replicas, Limit.MAXIMUM
    return (partitions, Limit.PARTITIONS) if number > partitions else (number, limit)


def for_partitions(partitions: int, scaling: Scaling) -> int:
    """ceil(partitions / partitionsPerReplica)."""
    return -(-partitions // scaling.partitions_per_replica)


def _wanted(scaling: Scaling, partitions: Number, need: Need | None) -> Decision:
    if isinstance(partitions, Unknown):
        return Decision(None, None, Limit.UNKNOWN, Why.UNKNOWN, partitions.message)
    if scaling.policy is Policy.MANUAL:
        return _manual(scaling, partitions)
    if scaling.policy is Policy.LAG:
        return _by_lag(scaling, partitions, need)
    desired, limit = bounded(for_partitions(partitions, scaling), partitions, scaling)
    message = f"{partitions} partitions, {scaling.partitions_per_replica} per replica"
    return Decision(desired, None, limit, Why.PARTITIONS, message)


def _manual(scaling: Scaling, partitions: int) -> Decision:
    """A number below the minimum, or 0, is followed too."""
    asked = scaling.replicas or 0
    desired, limit = min((asked, Limit.NONE), (scaling.max_replicas, Limit.MAXIMUM), (partitions, Limit.PARTITIONS))
    limit = Limit.NONE if desired == asked else limit
    return Decision(desired, None, limit, Why.MANUAL, f"spec.scaling.replicas is {asked}")


def _by_lag(scaling: Scaling, partitions: int, need: Need | None) -> Decision:
    if need is None or need.replicas is None:
        reason, message = (need.reason, need.message) if need else (Why.UNKNOWN, "the lag is not known")
        return Decision(None, None, Limit.NONE, reason, message)
    desired, limit = bounded(min(need.replicas, for_partitions(partitions, scaling)), partitions, scaling)
    return Decision(desired, None, limit, need.reason, need.message)
