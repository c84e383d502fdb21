"""How many replicas there should be: values in, values out, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from activity_indexer_operator.api import Scaling


@dataclass(frozen=True, slots=True)
class Unknown:
    """A number that could not be read, and why. It is never taken for zero."""

    reason: str
    message: str


Number: TypeAlias = int | Unknown


class Limit(StrEnum):
    """What kept the replicas from following the partitions, by the name that the status gives it."""

    NONE = "WithinLimits"
    MINIMUM = "AtMinimum"
    MAXIMUM = "AtMaximum"


@dataclass(frozen=True, slots=True)
class Decision:
    """`desired` is None where nothing can be said; `scale_to` is None where nothing is to be done."""

    desired: int | None
    scale_to: int | None
    limit: Limit


def decide(partitions: Number, replicas: Number, scaling: Scaling) -> Decision:
    """What to do about a workload of `replicas` for a topic of `partitions`.

    Without a fresh, complete reading of both numbers nothing is done.
    """
    if isinstance(partitions, Unknown):
        return Decision(None, None, Limit.NONE)
    desired, limit = _clamped(_needed(partitions, scaling), scaling)
    if isinstance(replicas, Unknown) or replicas == desired:
        return Decision(desired, None, limit)
    return Decision(desired, desired, limit)


def _needed(partitions: int, scaling: Scaling) -> int:
    return -(-partitions // scaling.partitions_per_replica)


def _clamped(needed: int, scaling: Scaling) -> tuple[int, Limit]:
    if needed < scaling.min:
        return scaling.min, Limit.MINIMUM
    if needed > scaling.max:
        return scaling.max, Limit.MAXIMUM
    return needed, Limit.NONE
