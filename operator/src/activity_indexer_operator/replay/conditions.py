"""What the status of a replay says about it: values in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from activity_indexer_operator.jobs.view import PodReason
from activity_indexer_operator.kube.objects import Condition, InvalidSpec
from activity_indexer_operator.replay.model import BAD_ENDS, GOOD_ENDS, Phase, Plan, ReplaySpec, ReplayStatus
from activity_indexer_operator.replay.reasons import Approved, Kind, Planned, Reason


def conditions(
    spec: ReplaySpec | InvalidSpec, status: ReplayStatus, reason: Reason | PodReason, message: str
) -> tuple[Condition, ...]:
    """Planned, Approved (of replays that change something) and Succeeded, which is Unknown until it has ended."""
    return (
        _planned(status),
        *_approved(spec, status),
        Condition(Kind.SUCCEEDED, _succeeded(status.phase), reason, message),
    )


def reason_of(status: ReplayStatus) -> str:
    """Why the replay is where it is; empty before the first look."""
    return next((each.reason for each in status.conditions if each.type == Kind.SUCCEEDED), "")


def message_of(status: ReplayStatus) -> str:
    """The same in a sentence."""
    return next((each.message for each in status.conditions if each.type == Kind.SUCCEEDED), "")


def _succeeded(phase: Phase | None) -> Literal["True", "False", "Unknown"]:
    if phase in GOOD_ENDS:
        return "True"
    return "False" if phase in BAD_ENDS else "Unknown"


def _planned(status: ReplayStatus) -> Condition:
    if status.plan:
        return Condition(Kind.PLANNED, "True", Planned.READY, _told(status.plan))
    if status.phase in BAD_ENDS:
        return Condition(Kind.PLANNED, "False", Planned.FAILED, "the dry run did not end well")
    return Condition(Kind.PLANNED, "False", Planned.NOT_YET, "no dry run has ended yet")


def _told(plan: Plan) -> str:
    kept = {"stale": plan.stale, "to be parked": plan.parked, "left invalid by the correction": plan.refused}
    told = "".join(f", {number} {what}" for what, number in kept.items() if number)
    return f"{plan.matched} dead letters match{told}; the range ends at {plan.up_to}"


def _approved(spec: ReplaySpec | InvalidSpec, status: ReplayStatus) -> Iterator[Condition]:
    if isinstance(spec, InvalidSpec) or spec.mode == "DryRun":
        return
    if spec.approval == "Automatic":
        yield Condition(Kind.APPROVED, "True", Approved.AUTOMATIC, "spec.approval is Automatic")
    elif spec.approved:
        yield Condition(Kind.APPROVED, "True", Approved.BY_PERSON, "spec.approved is true")
    else:
        asked = "approve the plan" if status.plan else "there is no plan to approve yet"
        yield Condition(Kind.APPROVED, "False", Approved.WAITING, f"spec.approved is false: {asked}")
