"""How many replicas there should be: values in, values out, no I/O."""

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
    """`desired` is None where nothing can be said; `scale_to` is None where nothing is to be done."""

    desired: int | None
    scale_to: int | None
    limit: Limit
    reason: str
    message: str


def decide(mode: Mode, scaling: Scaling, partitions: Number, replicas: Number, need: Need | None = None) -> Decision:
    """What to do about a workload of `replicas` for a topic of `partitions`; `need` is what the policy Lag found.

    Without a fresh, complete reading of both numbers nothing is done; only Suspended asks for no replicas whatever the
    brokers say.
    """
    wanted = _suspended() if mode is Mode.SUSPENDED else _wanted(scaling, partitions, need)
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


def _suspended() -> Decision:
    return Decision(0, None, Limit.NONE, Why.SUSPENDED, "spec.mode is Suspended")


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
    """Who asks for none, or for less than the minimum, gets it."""
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
