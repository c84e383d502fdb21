"""What the conditions of an ActivityIndexer say: values in, values out, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from activity_indexer_operator.indexer.decide import Decision, Limit
from activity_indexer_operator.indexer.spec import Mode, Spec
from activity_indexer_operator.indexer.workload import Workload
from activity_indexer_operator.kafka.observation import Observation, Offsets, SourceReason, Unknown
from activity_indexer_operator.kube.objects import Condition


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


class Moving(StrEnum):
    """Reasons of Moving: what waits in the topic is worked off."""

    MOVES = "EventsSettled"
    STANDS = "PartitionsStand"
    TRANSACTION = "OpenTransaction"
    UNKNOWN = "NotObserved"


class Lost(StrEnum):
    """Reasons of EventsLost."""

    NONE = "NothingLost"
    REMOVED = "RemovedBeforeRead"
    UNKNOWN = "NotObserved"


STANDS: Final = 120.0
"""Seconds without a commit after which a partition with a lag stands still."""
LOST_FOR: Final = timedelta(days=1)
"""For so long EventsLost stays, as the gap is gone with the next commit."""
_MODES = {Mode.PAUSED: Ready.PAUSED, Mode.DRY_RUN: Ready.DRY_RUN}


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a pass has found; `problem` is what is wrong with the newest spec, while an older one runs."""

    spec: Spec
    observation: Observation
    workload: Workload | Unknown
    decision: Decision
    problem: str = ""
    standing: Mapping[int, float] = field(default_factory=dict)


def conditions_for(found: Findings, previous: Iterable[Condition] = (), now: str = "") -> tuple[Condition, ...]:
    """All conditions of an object that has a spec to work with; `previous` are those of the last pass."""
    return (
        _ready(found),
        _source(found),
        _limited(found),
        _progressing(found),
        _moving(found),
        _lost(found, previous, now),
        _dead(found),
    )


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


def _moving(found: Findings) -> Condition:
    offsets, workload = found.observation.offsets, found.workload
    if isinstance(offsets, Unknown):
        return Condition("Moving", "Unknown", Moving.UNKNOWN, offsets.message)
    if isinstance(workload, Unknown) or not workload.replicas:
        return Condition("Moving", "Unknown", Moving.UNKNOWN, "no replica runs that could settle events")
    topic = found.spec.kafka.topic
    stands = [number for number, seconds in sorted(found.standing.items()) if seconds >= STANDS]
    behind = [number for number in stands if _hides_all(offsets, number)]
    if others := [number for number in stands if number not in behind]:
        text = f"events wait in {_partitions(others)} of topic {topic} and none is settled; run activity-indexer status"
        return Condition("Moving", "False", Moving.STANDS, text)
    if behind:
        text = (
            f"a producer's open transaction hides the events in {_partitions(behind)} of topic {topic}; end or abort it"
        )
        return Condition("Moving", "False", Moving.TRANSACTION, text)
    return Condition("Moving", "True", Moving.MOVES, f"what waits in topic {topic} is being settled")


def _hides_all(offsets: Offsets, number: int) -> bool:
    """Whether all that the group can read of a partition is settled, and an open transaction hides the rest."""
    stable = offsets.stable.get(number)
    return stable is not None and stable <= offsets.position.get(number, 0) and number in offsets.hidden


def _lost(found: Findings, previous: Iterable[Condition], now: str) -> Condition:
    offsets, topic = found.observation.offsets, found.spec.kafka.topic
    known = next((each for each in previous if each.type == "EventsLost" and each.status == "True"), None)
    if not isinstance(offsets, Unknown) and offsets.lost:
        text = (
            f"events of topic {topic} were removed before group {found.spec.kafka.consumer_group} had read them "
            f"({_partitions(sorted(offsets.lost))}); publish them again, and raise the topic's retention"
        )
        return Condition("EventsLost", "True", Lost.REMOVED, text)
    if known and now and _age(known, now) < LOST_FOR:
        return Condition("EventsLost", "True", Lost.REMOVED, known.message)
    if isinstance(offsets, Unknown):
        return Condition("EventsLost", "Unknown", Lost.UNKNOWN, offsets.message)
    return Condition("EventsLost", "False", Lost.NONE, f"topic {topic} still holds all that the group has not read")


def _age(condition: Condition, now: str) -> timedelta:
    since = condition.last_transition_time
    return datetime.fromisoformat(now) - datetime.fromisoformat(since) if since else timedelta()


def _partitions(numbers: Iterable[int]) -> str:
    return "partition " + ", ".join(map(str, numbers))


def _dead(found: Findings) -> Condition:
    dead, topic = found.observation.dead, found.spec.dead_letter_topic
    if isinstance(dead, Unknown):
        return Condition("DeadLetterEmpty", "Unknown", Dead.UNKNOWN, dead.message)
    if dead is None or dead.lag == 0:
        return Condition("DeadLetterEmpty", "True", Dead.EMPTY, f"topic {topic} holds no event that no replay has read")
    message = f"topic {topic} holds events that could not be indexed; see them, then create a DeadLetterReplay"
    return Condition("DeadLetterEmpty", "False", Dead.WAITING, message)
