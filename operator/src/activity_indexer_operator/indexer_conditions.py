"""What the conditions of an ActivityIndexer say: values in, values out, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from activity_indexer_operator.api import Condition
from activity_indexer_operator.decide import Decision, Limit
from activity_indexer_operator.observed import Observation, SourceReason, Unknown
from activity_indexer_operator.spec import Mode, Spec
from activity_indexer_operator.workload import Workload


class Ready(StrEnum):
    """Reasons of Ready: accepted, the source reachable, something serving."""

    AVAILABLE = "ReplicasAvailable"
    WAITING = "WaitingForReplicas"
    ZERO = "ScaledToZero"
    NO_TARGET = "TargetNotFound"
    NO_SOURCE = "SourceUnreachable"
    INVALID = "InvalidSpec"
    PAUSED = "Paused"
    SUSPENDED = "Suspended"
    DRY_RUN = "DryRun"


class Progress(StrEnum):
    """Reasons of Progressing."""

    COMPLETE = "RolloutComplete"
    ROLLING = "RollingOut"
    STUCK = "DeadlineExceeded"
    NO_WORKLOAD = "WorkloadUnknown"


class Dead(StrEnum):
    """Reasons of DeadLetterEmpty."""

    EMPTY = "NothingWaiting"
    WAITING = "EventsWaiting"
    UNKNOWN = "NotObserved"


_MODES = {Mode.PAUSED: Ready.PAUSED, Mode.DRY_RUN: Ready.DRY_RUN}


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a pass has found; `problem` is what is wrong with the newest spec, while an older one runs."""

    spec: Spec
    observation: Observation
    workload: Workload | Unknown
    decision: Decision
    problem: str = ""


def conditions_for(found: Findings) -> tuple[Condition, ...]:
    """All conditions of an object that has a spec to work with."""
    return _ready(found), _source(found), _limited(found), _progressing(found), _dead(found)


def invalid(message: str) -> tuple[Condition, ...]:
    """The conditions of an object that never had a spec to work with."""
    return (Condition("Ready", "False", Ready.INVALID, f"{message}; nothing is done until it is corrected"),)


def _ready(found: Findings) -> Condition:
    serving, reason, message = _serving(found)
    if found.problem:
        return Condition("Ready", "False", Ready.INVALID, f"{found.problem}; the last good spec stays in force")
    if found.spec.mode is Mode.SUSPENDED:
        return Condition("Ready", "False", Ready.SUSPENDED, "spec.mode is Suspended: there are to be no replicas")
    if mode := _MODES.get(found.spec.mode):
        return Condition("Ready", serving, mode, f"spec.mode is {mode}: nothing is changed; {message}")
    return Condition("Ready", serving, reason, message)


def _serving(found: Findings) -> tuple[Literal["True", "False"], Ready, str]:
    workload, partitions = found.workload, found.observation.partitions
    if isinstance(workload, Unknown):
        return "False", Ready.NO_TARGET, workload.message
    if isinstance(partitions, Unknown):
        return "False", Ready.NO_SOURCE, partitions.message
    if workload.ready > 0:
        return "True", Ready.AVAILABLE, f"{workload.kind} {workload.name} has ready replicas"
    if workload.replicas == 0 and found.decision.desired == 0:
        return "True", Ready.ZERO, f"{workload.kind} {workload.name} has nothing to do"
    return "False", Ready.WAITING, f"no replica of {workload.kind} {workload.name} is ready"


def _source(found: Findings) -> Condition:
    count = found.observation.partitions
    if isinstance(count, Unknown):
        return Condition("SourceReachable", "False", count.reason, f"{count.message}; the replicas stay as they are")
    message = f"topic {found.spec.kafka.topic} was described completely"
    return Condition("SourceReachable", "True", SourceReason.FETCHED, message)


_LIMITS = {
    Limit.NONE: "the replicas are what the policy asks for",
    Limit.MINIMUM: "scaling.minReplicas asks for more replicas than the policy",
    Limit.MAXIMUM: "scaling.maxReplicas allows fewer replicas than the policy asks for",
    Limit.PARTITIONS: "the topic has fewer partitions than replicas are asked for; more would have nothing to read",
    Limit.UNKNOWN: "the partition count is not known",
}


def _limited(found: Findings) -> Condition:
    limit = found.decision.limit
    if limit is Limit.UNKNOWN:
        return Condition("ScalingLimited", "Unknown", limit, _LIMITS[limit])
    return Condition("ScalingLimited", "False" if limit is Limit.NONE else "True", limit, _LIMITS[limit])


def kept_below(conditions: Iterable[Condition]) -> float | None:
    """1 where a limit keeps replicas below what the policy asks for, 0 where none does, None where it is not known."""
    known = [
        condition for condition in conditions if condition.type == "ScalingLimited" and condition.status != "Unknown"
    ]
    return float(known[0].reason in {Limit.MAXIMUM, Limit.PARTITIONS}) if known else None


def _progressing(found: Findings) -> Condition:
    workload = found.workload
    if isinstance(workload, Unknown):
        return Condition("Progressing", "Unknown", Progress.NO_WORKLOAD, workload.message)
    name = f"{workload.kind} {workload.name}"
    if workload.settled and found.decision.scale_to is None:
        return Condition("Progressing", "False", Progress.COMPLETE, f"{name} runs what it is to run")
    if workload.stuck:
        return Condition("Progressing", "False", Progress.STUCK, f"{name} makes no progress; look at its pods")
    return Condition("Progressing", "True", Progress.ROLLING, f"{name} starts or stops replicas")


def _dead(found: Findings) -> Condition:
    dead, topic = found.observation.dead, found.spec.dead_letter_topic
    if isinstance(dead, Unknown):
        return Condition("DeadLetterEmpty", "Unknown", Dead.UNKNOWN, dead.message)
    if dead is None or dead.lag == 0:
        return Condition("DeadLetterEmpty", "True", Dead.EMPTY, f"topic {topic} holds no event that no replay has read")
    message = f"topic {topic} holds events that could not be indexed; see them, then create a DeadLetterReplay"
    return Condition("DeadLetterEmpty", "False", Dead.WAITING, message)
