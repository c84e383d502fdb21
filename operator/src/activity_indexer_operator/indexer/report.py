"""The status of an ActivityIndexer from what a pass has found: values in, values out, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from msgspec.structs import replace

from activity_indexer_operator.indexer.decide import Decision, Limit
from activity_indexer_operator.indexer.lag_policy import Rates
from activity_indexer_operator.indexer.model import Workload
from activity_indexer_operator.indexer.spec import Mode, Spec
from activity_indexer_operator.indexer.status import (
    DeadLetterStatus,
    DecisionStatus,
    Lag,
    LastScale,
    Partitions,
    Status,
    WorkloadStatus,
)
from activity_indexer_operator.indexer.status import Rates as RateStatus
from activity_indexer_operator.kafka.observation import Observation, Offsets, SourceReason, Unknown
from activity_indexer_operator.kube.conditions import merge
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
"""Seconds without a commit after which a partition with a lag counts as not moving."""
LOST_FOR: Final = timedelta(days=1)
"""How long EventsLost stays, as the gap is gone with the next commit."""
_MODES = {Mode.PAUSED: Ready.PAUSED, Mode.DRY_RUN: Ready.DRY_RUN}
_LIMITS = {
    Limit.NONE: "the replicas are what the policy asks for",
    Limit.MINIMUM: "scaling.minReplicas asks for more replicas than the policy",
    Limit.MAXIMUM: "scaling.maxReplicas allows fewer replicas than the policy asks for",
    Limit.PARTITIONS: "the topic has fewer partitions than replicas are asked for; more would have nothing to read",
    Limit.UNKNOWN: "the partition count is not known",
}
GOOD_NEWS = frozenset({("Ready", "True"), ("SourceReachable", "True"), ("DeadLetterEmpty", "True"), ("Moving", "True")})
BAD_NEWS = frozenset(
    {
        ("Ready", "False"),
        ("SourceReachable", "False"),
        ("DeadLetterEmpty", "False"),
        ("Moving", "False"),
        ("EventsLost", "True"),
    }
)
EXPECTED_REASONS = frozenset({"Suspended", "Paused", "DryRun", "WaitingForReplicas"})


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a pass has found; `problem` is what is wrong with the newest spec, while an older one runs.

    `standing` has, by partition with a lag, for how long the group has committed nothing of it (seconds).
    """

    spec: Spec
    observation: Observation
    workload: Workload | Unknown
    decision: Decision
    problem: str = ""
    standing: Mapping[int, float] = field(default_factory=dict)
    rates: Rates | None = None


def status_of(found: Findings, previous: Status, generation: int, now: str) -> Status:
    """The whole status; `now` is the time of what has changed."""
    workload = found.workload if isinstance(found.workload, Workload) else None
    observation, decision, scaled_to = found.observation, found.decision, found.decision.scale_to
    partitions = last_scale = None
    if not isinstance(count := observation.partitions, Unknown):
        before = previous.partitions
        partitions = before if before and before.total == count else Partitions(count, now)
    offsets = None if isinstance(observation.offsets, Unknown) else observation.offsets
    dead_letter = None if isinstance(dead := observation.dead, Unknown) else DeadLetterStatus(0)
    if isinstance(dead, Offsets):
        handled = sorted((n, at) for n, at in dead.position.items() if at > dead.first.get(n, 0))
        dead_letter = DeadLetterStatus(dead.lag, ",".join(f"{number}:{offset}" for number, offset in handled) or None)
    if workload and scaled_to is not None:
        last_scale = LastScale(workload.replicas, scaled_to, decision.reason, now)
    return Status(
        observed_generation=generation,
        workload=WorkloadStatus(workload.kind, workload.name) if workload else None,
        selector=workload.selector if workload else previous.selector,
        replicas=(workload.replicas if scaled_to is None else scaled_to) if workload else None,
        ready_replicas=workload.ready if workload else None,
        desired_replicas=decision.desired,
        partitions=partitions,
        lag=Lag(offsets.lag, offsets.max_lag, sum(offsets.hidden.values())) if offsets else None,
        rates=_rates(found.rates),
        decision=DecisionStatus(found.spec.scaling.policy, decision.reason, decision.message),
        dead_letter=dead_letter,
        last_scale=last_scale or previous.last_scale,
        conditions=merge(previous.conditions, conditions_for(found, previous.conditions, now), now, generation),
    )


def refused(message: str, previous: Status, generation: int, now: str) -> Status:
    """The status of an object that never had a usable spec."""
    ready = Condition("Ready", "False", Ready.INVALID, f"{message}; nothing is done until it is corrected")
    return replace(
        previous, observed_generation=generation, conditions=merge(previous.conditions, (ready,), now, generation)
    )


def steady(status: Status) -> Status:
    """The status without what changes in every pass: while this part is as before, writing can wait."""
    decision = status.decision and replace(status.decision, message="")
    return replace(status, lag=None, rates=None, dead_letter=None, decision=decision)


def gauges(found: Findings, status: Status) -> dict[str, float | None]:
    """The values of metrics.GAUGES; None where one is not known."""
    offsets, dead = found.observation.offsets, found.observation.dead
    limit = found.decision.limit
    return {
        "partitions": status.partitions.total if status.partitions else None,
        "desired_replicas": status.desired_replicas,
        "replicas": status.replicas,
        "ready_replicas": status.ready_replicas,
        "scaling_limited": None if limit is Limit.UNKNOWN else float(limit in {Limit.MAXIMUM, Limit.PARTITIONS}),
        "lag_events": offsets.lag if isinstance(offsets, Offsets) else None,
        "hidden_events": sum(offsets.hidden.values()) if isinstance(offsets, Offsets) else None,
        "lost_events": sum(offsets.lost.values()) if isinstance(offsets, Offsets) else None,
        "dead_letters": dead.lag if isinstance(dead, Offsets) else None,
        "produced_events_per_second": found.rates.produced if found.rates else None,
        "capacity_events_per_second": found.rates.capacity if found.rates else None,
    }


def is_news(condition: Condition, had_one: bool) -> bool:
    """Whether a transition is worth an Event: the first pass over a healthy object is not."""
    state = condition.type, condition.status
    return state in BAD_NEWS or (state in GOOD_NEWS and (had_one or condition.type == "Ready"))


def is_warning(condition: Condition) -> bool:
    """Whether an operator may have to act."""
    return (condition.type, condition.status) in BAD_NEWS and condition.reason not in EXPECTED_REASONS


def _rates(rates: Rates | None) -> RateStatus | None:
    if rates is None:
        return None
    capacity = None if rates.capacity is None else round(rates.capacity)
    return RateStatus(round(rates.produced), round(rates.settled), capacity)


def conditions_for(found: Findings, previous: Iterable[Condition], now: str) -> tuple[Condition, ...]:
    """All conditions of an object that has a usable spec; `previous` are those of the last pass."""
    return (
        _ready(found),
        _source(found),
        _limited(found),
        _progressing(found),
        _moving(found),
        _lost(found, previous, now),
        _dead_letters(found),
    )


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
    if isinstance(count := found.observation.partitions, Unknown):
        return Condition("SourceReachable", "False", count.reason, f"{count.message}; the replicas stay as they are")
    message = f"topic {found.spec.kafka.topic} was described completely"
    return Condition("SourceReachable", "True", SourceReason.FETCHED, message)


def _limited(found: Findings) -> Condition:
    limit = found.decision.limit
    if limit is Limit.UNKNOWN:
        return Condition("ScalingLimited", "Unknown", limit, _LIMITS[limit])
    return Condition("ScalingLimited", "False" if limit is Limit.NONE else "True", limit, _LIMITS[limit])


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
    # All that the group can read is settled, and an open transaction hides the rest.
    hidden = {number for number in offsets.hidden if offsets.stable[number] <= offsets.position.get(number, 0)}
    behind = [number for number in stands if number in hidden]
    if others := [number for number in stands if number not in behind]:
        text = f"events wait in {_listed(others)} of topic {topic} and none is settled; run activity-indexer status"
        return Condition("Moving", "False", Moving.STANDS, text)
    if behind:
        text = f"a producer's open transaction hides the events in {_listed(behind)} of topic {topic}; end or abort it"
        return Condition("Moving", "False", Moving.TRANSACTION, text)
    return Condition("Moving", "True", Moving.MOVES, f"what waits in topic {topic} is being settled")


def _lost(found: Findings, previous: Iterable[Condition], now: str) -> Condition:
    offsets, topic = found.observation.offsets, found.spec.kafka.topic
    known = next((each for each in previous if each.type == "EventsLost" and each.status == "True"), None)
    if not isinstance(offsets, Unknown) and offsets.lost:
        text = (
            f"events of topic {topic} were removed before group {found.spec.kafka.consumer_group} had read them "
            f"({_listed(sorted(offsets.lost))}); publish them again, and raise the topic's retention"
        )
        return Condition("EventsLost", "True", Lost.REMOVED, text)
    since = known.last_transition_time if known else ""
    if known and (not since or datetime.fromisoformat(now) - datetime.fromisoformat(since) < LOST_FOR):
        return Condition("EventsLost", "True", Lost.REMOVED, known.message)
    if isinstance(offsets, Unknown):
        return Condition("EventsLost", "Unknown", Lost.UNKNOWN, offsets.message)
    return Condition("EventsLost", "False", Lost.NONE, f"topic {topic} still holds all that the group has not read")


def _listed(numbers: Iterable[int]) -> str:
    return "partition " + ", ".join(map(str, numbers))


def _dead_letters(found: Findings) -> Condition:
    dead, topic = found.observation.dead, found.spec.dead_letter_topic
    if isinstance(dead, Unknown):
        return Condition("DeadLetterEmpty", "Unknown", Dead.UNKNOWN, dead.message)
    if dead is None or dead.lag == 0:
        return Condition("DeadLetterEmpty", "True", Dead.EMPTY, f"topic {topic} holds no event that no replay has read")
    message = f"topic {topic} holds events that could not be indexed; see them, then create a DeadLetterReplay"
    return Condition("DeadLetterEmpty", "False", Dead.WAITING, message)
