"""The next step of a replay: what was observed and the time in, actions and the status out; no I/O.

    Pending ─► Planning ─► (AwaitingApproval) ─► Running ─► Succeeded | Nothing | Refused | Failed
                    Suspended: from any of the first four, and back

Every answer follows from what exists: the object, its two Jobs by their names, and the plan in its status. So it is the
same whether or not the operator was killed after any step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from msgspec.structs import replace

from activity_common.replay_result import Counters
from activity_indexer_operator.jobs.view import JobState, JobView, PodReason, Waiting
from activity_indexer_operator.kube.objects import Condition, InvalidSpec
from activity_indexer_operator.kube.time import format_time, parse_time
from activity_indexer_operator.replay.command import Outcome, Stage, job_name, job_request, outcome_of
from activity_indexer_operator.replay.model import (
    BAD_ENDS,
    GOOD_ENDS,
    Kind,
    Phase,
    Reason,
    Replay,
    ReplaySpec,
    ReplayStatus,
)

PROGRESS_INTERVAL: Final = 10.0
"""Seconds between two passes over a running replay."""
STOPPING_INTERVAL: Final = 2.0
"""Seconds between two passes while a pod ends: no event reports that once its Job is gone."""
TURN_INTERVAL: Final = 10.0
"""Seconds between two passes over a replay that waits for its turn, as not every event reports that it has come."""
_INTERVALS: Final[Mapping[Reason | PodReason, float]] = {
    Reason.STOPPING: STOPPING_INTERVAL,
    Reason.JOB_REPLACED: STOPPING_INTERVAL,
    Reason.ANOTHER_REPLAY: TURN_INTERVAL,
    Reason.PURGE_RUNNING: TURN_INTERVAL,
}


class Planned(StrEnum):
    """Reasons of the condition Planned."""

    READY = "PlanReady"
    NOT_YET = "NotYet"
    FAILED = "PlanFailed"


class Approved(StrEnum):
    """Reasons of the condition Approved."""

    AUTOMATIC = "ApprovedAutomatically"
    BY_PERSON = "ApprovedByPerson"
    WAITING = "WaitingForApproval"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why no Job may be created now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What a pass has found. `obstacles` are those of each stage, `progress` is None where Kafka did not answer.

    `retained`: its ActivityIndexer would create this replay again, so it is kept whatever its age.
    """

    replay: Replay
    jobs: Mapping[Stage, JobView] = field(default_factory=dict)
    obstacles: Mapping[Stage, Obstacle] = field(default_factory=dict)
    progress: Counters | None = None
    retained: bool = False

    def own(self, stage: Stage) -> JobView | None:
        """The Job of a stage, unless it belongs to another object."""
        job = self.jobs.get(stage)
        return job if job and job.owner == self.replay.meta.uid else None

    def with_status(self, status: ReplayStatus) -> Observed:
        """The same with another status."""
        return dataclasses.replace(self, replay=dataclasses.replace(self.replay, status=status))


@dataclass(frozen=True, slots=True)
class Decision:
    """At most one of: a Job to create, a Job to delete, the replay itself to delete; and the status that follows.

    `after`: seconds until the next pass, where that is not the resync interval.
    """

    status: ReplayStatus
    create: Stage | None = None
    delete: JobView | None = None
    expire: bool = False
    after: float | None = None


def decide(observed: Observed, now: datetime) -> Decision:
    """The next step of a replay."""
    # A Job may have been created by a pass that was cut short before its status was written.
    jobs = map(observed.own, observed.jobs)
    traced = (job.trace.trace_id.decode() for job in jobs if job and job.trace and job.trace.sampled)
    status = observed.replay.status
    observed = observed.with_status(replace(status, trace_id=status.trace_id or next(traced, None)))
    replay = observed.replay
    if isinstance(replay.spec, InvalidSpec):
        return waiting(observed, Obstacle(Reason.SPEC_INVALID, replay.spec.message))
    if replay.finished:
        return _finished(observed, replay.spec, now)
    if replay.status.plan is None:
        return _plan(observed, replay.spec, now)
    return _replay(observed, replay.spec, now)


def _finished(observed: Observed, spec: ReplaySpec, now: datetime) -> Decision:
    status = observed.replay.status
    end = parse_time(status.completion_time or "") + timedelta(seconds=spec.ttl_seconds_after_finished)
    if observed.retained or now < end:
        return Decision(status, after=None if observed.retained else max(1.0, (end - now).total_seconds()))
    return Decision(status, expire=True)


def _plan(observed: Observed, spec: ReplaySpec, now: datetime) -> Decision:
    job = observed.own(Stage.PLAN)
    if job is None or not job.over:
        return _work(observed, spec, Stage.PLAN, now)
    outcome = outcome_of(job)
    if outcome.phase != "Succeeded":
        return _end(observed, outcome, now)
    if outcome.result is None:
        # Its pod is gone, and its result with it. Another dry run takes little time.
        return _step(observed, "Planning", Reason.JOB_REPLACED, f"Job {job.name} left no result and is run again", job)
    observed = observed.with_status(replace(observed.replay.status, plan=outcome.plan))
    matched = outcome.result.matched
    if not matched:
        nothing = Outcome("Nothing", Reason.NOTHING_TO_REPLAY, "no dead letter matches", outcome.result)
        return _end(observed, nothing, now)
    if spec.mode == "DryRun":
        message = f"{matched} dead letters match; spec.mode DryRun changes nothing"
        return _end(observed, dataclasses.replace(outcome, message=message), now)
    return _replay(observed, spec, now)


def _replay(observed: Observed, spec: ReplaySpec, now: datetime) -> Decision:
    job = observed.own(Stage.REPLAY)
    if job and job.over:
        return _end(observed, outcome_of(job), now)
    if spec.approval == "Manual" and not spec.approved and job is None and not spec.suspend:
        key = observed.replay.meta.key
        approve = (
            f"""kubectl -n {key.namespace} patch dlr {key.name} --type=merge -p '{{"spec":{{"approved":true}}}}'"""
        )
        message = f"the plan waits for approval: {approve}"
        return _step(observed, "AwaitingApproval", Reason.AWAITING_APPROVAL, message)
    return _work(observed, spec, Stage.REPLAY, now)


def _work(observed: Observed, spec: ReplaySpec, stage: Stage, now: datetime) -> Decision:
    """Of a stage whose Job has not ended."""
    job = observed.jobs.get(stage)
    if spec.suspend:
        if job is None:
            return _step(
                observed, "Suspended", Reason.SUSPENDED, "it goes on where it stopped when spec.suspend is false"
            )
        active = job.state is JobState.ACTIVE and observed.own(stage)
        return _step(
            observed, "Suspended", Reason.STOPPING, f"Job {job.name} is being stopped", job if active else None
        )
    if job:
        return _active(observed, spec, stage, job, now)
    if obstacle := observed.obstacles.get(stage):
        return waiting(observed, obstacle)
    return _running(observed, stage, now, None, create=True)


def _active(observed: Observed, spec: ReplaySpec, stage: Stage, job: JobView, now: datetime) -> Decision:
    if job.state is JobState.STOPPING:
        return _step(observed, "Pending", Reason.JOB_REPLACED, f"the last pod of Job {job.name} has not ended yet")
    if not observed.own(stage):
        taken = f"Job {job.name} belongs to another object: delete it"
        return waiting(observed, Obstacle(Reason.JOB_NAME_TAKEN, taken))
    if job.command_hash != job_request(observed.replay, spec, stage).command_hash:
        message = f"Job {job.name} is replaced, as the spec has changed"
        return _step(observed, "Pending", Reason.JOB_REPLACED, message, job)
    return _running(observed, stage, now, job.waiting)


def _running(
    observed: Observed, stage: Stage, now: datetime, held_by: Waiting | None, *, create: bool = False
) -> Decision:
    status = observed.replay.status
    observed = observed.with_status(replace(status, start_time=status.start_time or format_time(now)))
    phase: Phase = "Planning" if stage is Stage.PLAN else "Running"
    if held_by:
        step = _step(observed, phase, held_by.reason, f"no pod of the Job runs: {held_by.message}")
    elif stage is Stage.PLAN:
        step = _step(observed, phase, Reason.PLANNING, "a dry run looks for what matches")
    else:
        step = _step(observed, phase, Reason.RUNNING, "events are sent back to their topic")
    status = replace(step.status, job_name=job_name(observed.replay, stage))
    return Decision(status, create=stage if create else None, after=PROGRESS_INTERVAL)


def _end(observed: Observed, outcome: Outcome, now: datetime) -> Decision:
    status, result = observed.replay.status, outcome.result
    progress = observed.progress or status.progress
    if (
        not observed.progress
        and result
        and result.outcome == "done"
        and status.plan
        and observed.jobs.get(Stage.REPLAY)
    ):
        progress = result.counters
    ended = observed.with_status(
        replace(
            status,
            progress=progress,
            report=result.report if result else None,
            start_time=status.start_time or format_time(now),
            completion_time=format_time(now),
        )
    )
    if outcome.phase == "Nothing" and progress and progress.sent:
        # It had ended before, and its Job was created once more.
        return _step(ended, "Succeeded", Reason.COMPLETED, "all that matched has been replayed")
    message = outcome.message or "done"
    if outcome.phase == "Failed" and result is None and status.reason in tuple(PodReason):
        message = f"{message}; before, {status.message}"  # what kept its pod from running is gone with the pod
    return _step(ended, outcome.phase, outcome.reason, message)


def waiting(observed: Observed, obstacle: Obstacle) -> Decision:
    """No Job is created, and the status says why."""
    return _step(observed, "Pending", obstacle.reason, obstacle.message)


def _step(
    observed: Observed, phase: Phase, reason: Reason | PodReason, message: str, delete: JobView | None = None
) -> Decision:
    replay = observed.replay
    status = replace(
        replay.status,
        observed_generation=replay.meta.generation,
        phase=phase,
        id=replay.id,
        progress=observed.progress or replay.status.progress,
    )
    succeeded: Literal["True", "False", "Unknown"] = "True" if phase in GOOD_ENDS else "Unknown"
    if phase in BAD_ENDS:
        succeeded = "False"
    conditions = (
        _planned(status),
        *_approved(replay.spec, status),
        Condition(Kind.SUCCEEDED, succeeded, reason, message),
    )
    return Decision(replace(status, conditions=conditions), delete=delete, after=_INTERVALS.get(reason))


def _planned(status: ReplayStatus) -> Condition:
    if plan := status.plan:
        left_out = {"stale": plan.stale, "to be parked": plan.parked, "left invalid by the correction": plan.refused}
        numbers = "".join(f", {number} {what}" for what, number in left_out.items() if number)
        message = f"{plan.matched} dead letters match{numbers}; the range ends at {plan.up_to}"
        return Condition(Kind.PLANNED, "True", Planned.READY, message)
    if status.phase in BAD_ENDS:
        return Condition(Kind.PLANNED, "False", Planned.FAILED, "the dry run failed")
    return Condition(Kind.PLANNED, "False", Planned.NOT_YET, "no dry run has ended yet")


def _approved(spec: ReplaySpec | InvalidSpec, status: ReplayStatus) -> Iterator[Condition]:
    """Only of replays that change something."""
    if isinstance(spec, InvalidSpec) or spec.mode == "DryRun":
        return
    if spec.approval == "Automatic":
        yield Condition(Kind.APPROVED, "True", Approved.AUTOMATIC, "spec.approval is Automatic")
    elif spec.approved:
        yield Condition(Kind.APPROVED, "True", Approved.BY_PERSON, "spec.approved is true")
    else:
        missing = "approve the plan" if status.plan else "there is no plan to approve yet"
        yield Condition(Kind.APPROVED, "False", Approved.WAITING, f"spec.approved is false: {missing}")
