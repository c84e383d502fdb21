"""The status of an ActivityIndexer from what a pass has found: values in, values out, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from activity_indexer_operator.indexer.conditions import Findings, conditions_for
from activity_indexer_operator.indexer.lag_policy import Rates
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
from activity_indexer_operator.indexer.workload import Workload
from activity_indexer_operator.kafka.observation import Offsets, Unknown
from activity_indexer_operator.kube.conditions import merge
from activity_indexer_operator.kube.objects import Condition

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


def status_of(found: Findings, rates: Rates | None, previous: Status, generation: int, now: str) -> Status:
    """All that is to be said; `now` is the time of what has changed."""
    workload = found.workload if isinstance(found.workload, Workload) else None
    return Status(
        observed_generation=generation,
        workload=WorkloadStatus(workload.kind, workload.name) if workload else None,
        selector=workload.selector if workload else previous.selector,
        replicas=_replicas(workload, found.decision.scale_to),
        ready_replicas=workload.ready if workload else None,
        desired_replicas=found.decision.desired,
        partitions=_partitions(found, previous, now),
        lag=_lag(found.observation.offsets),
        rates=_rates(rates),
        decision=DecisionStatus(found.spec.scaling.policy, found.decision.reason, found.decision.message),
        dead_letter=_dead(found.observation.dead),
        last_scale=_last_scale(found, previous, now),
        conditions=merge(previous.conditions, conditions_for(found, previous.conditions, now), now, generation),
    )


def steady(status: Status) -> Status:
    """The status without what moves at every look: when this part is as before, writing can wait."""
    decision = status.decision and replace(status.decision, message="")
    return replace(status, lag=None, rates=None, dead_letter=None, decision=decision)


def is_news(condition: Condition, had_one: bool) -> bool:
    """Whether a transition is worth an Event: the first look at a healthy object is not."""
    state = condition.type, condition.status
    return state in BAD_NEWS or (state in GOOD_NEWS and (had_one or condition.type == "Ready"))


def is_warning(condition: Condition) -> bool:
    """Whether people may have to do something."""
    return (condition.type, condition.status) in BAD_NEWS and condition.reason not in EXPECTED_REASONS


def positions(text: str | None) -> dict[int, int]:
    """Offsets by partition from partition:offset,…; what cannot be read counts as none."""
    pairs = (pair.partition(":") for pair in (text or "").split(",") if ":" in pair)
    return {int(number): int(offset) for number, _, offset in pairs if number.isdecimal() and offset.isdecimal()}


def as_text(offsets: Mapping[int, int]) -> str:
    """The reverse."""
    return ",".join(f"{number}:{offset}" for number, offset in sorted(offsets.items()))


def _replicas(workload: Workload | None, scaled_to: int | None) -> int | None:
    if workload is None:
        return None
    return workload.replicas if scaled_to is None else scaled_to


def _partitions(found: Findings, previous: Status, now: str) -> Partitions | None:
    count = found.observation.partitions
    if isinstance(count, Unknown):
        return None
    before = previous.partitions
    if before and before.total == count:
        return before
    return Partitions(count, now)


def _lag(offsets: Offsets | Unknown) -> Lag | None:
    if isinstance(offsets, Unknown):
        return None
    return Lag(offsets.lag, offsets.max_lag, sum(offsets.hidden.values()))


def _dead(offsets: Offsets | Unknown | None) -> DeadLetterStatus | None:
    if isinstance(offsets, Unknown):
        return None
    if offsets is None:
        return DeadLetterStatus(0)
    handled = {n: at for n, at in offsets.position.items() if at > offsets.first.get(n, 0)}
    return DeadLetterStatus(offsets.lag, as_text(handled) or None)


def _rates(rates: Rates | None) -> RateStatus | None:
    if rates is None:
        return None
    capacity = None if rates.capacity is None else round(rates.capacity)
    return RateStatus(round(rates.produced), round(rates.settled), capacity)


def _last_scale(found: Findings, previous: Status, now: str) -> LastScale | None:
    to, workload = found.decision.scale_to, found.workload
    if to is None or isinstance(workload, Unknown):
        return previous.last_scale
    return LastScale(workload.replicas, to, found.decision.reason, now)
