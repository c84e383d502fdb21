"""What is to be done for a replay: what was seen and the time in, actions and the status out; no I/O.

    Pending ─► Planning ─► (AwaitingApproval) ─► Running ─► Succeeded | Nothing | Refused | Failed
                    Suspended: from any of the first four, and back

Every answer follows from what is there: the object, its two Jobs by their names, and the plan in its status. So it is
the same whether the operator was killed after any step or not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from activity_common.replay_result import Counters
from activity_indexer_operator.jobs.view import JobState, JobView, PodReason, Waiting
from activity_indexer_operator.kube.objects import InvalidSpec
from activity_indexer_operator.kube.time import format_time, parse_time
from activity_indexer_operator.replay.command import Stage, job_name, job_request
from activity_indexer_operator.replay.conditions import conditions, message_of, reason_of
from activity_indexer_operator.replay.model import Phase, Replay, ReplaySpec, ReplayStatus
from activity_indexer_operator.replay.outcome import Outcome, outcome_of, plan_of
from activity_indexer_operator.replay.reasons import Reason

PROGRESS_INTERVAL: Final = 10.0
"""Seconds between two looks at the progress of a running replay."""
STOPPING_INTERVAL: Final = 2.0
"""Seconds between two looks at a pod that is to end: no event tells of it once its Job is gone."""
TURN_INTERVAL: Final = 10.0
"""Seconds between two looks of a replay that waits for its turn, where no event tells that it has come."""
_INTERVALS: Final[Mapping[Reason | PodReason, float]] = {
    Reason.STOPPING: STOPPING_INTERVAL,
    Reason.JOB_REPLACED: STOPPING_INTERVAL,
    Reason.ANOTHER_REPLAY: TURN_INTERVAL,
    Reason.PURGE_RUNNING: TURN_INTERVAL,
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why no Job may be started now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What there is. `obstacles` are those of each stage, `progress` is None where Kafka did not tell it.

    `retained`: its ActivityIndexer still asks for this replay, so that its history is kept whatever its age.
    """

    replay: Replay
    jobs: Mapping[Stage, JobView] = field(default_factory=dict)
    obstacles: Mapping[Stage, Obstacle] = field(default_factory=dict)
    progress: Counters | None = None
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """At most one of: a Job to create, a Job to delete, the replay itself to delete; and the status that follows.

    `after`: seconds until the next look, where that is to be at another time than the usual one.
    """

    status: ReplayStatus
    create: Stage | None = None
    delete: JobView | None = None
    expire: bool = False
    after: float | None = None


def decide(seen: Observed, now: datetime) -> Decision:
    """The next step of a replay."""
    # Of Jobs that were made in a pass that did not come to its end, too.
    own = (_own(seen, stage) for stage in seen.jobs)
    traced = (job.trace.trace_id.decode() for job in own if job and job.trace and job.trace.sampled)
    known = seen.replay.status.trace_id or next(traced, None)
    return _decide(_with_status(seen, replace(seen.replay.status, trace_id=known)), now)


def _decide(seen: Observed, now: datetime) -> Decision:
    replay = seen.replay
    if isinstance(replay.spec, InvalidSpec):
        return waiting(seen, Obstacle(Reason.SPEC_INVALID, replay.spec.message))
    if replay.finished:
        return _finished(seen, replay.spec, now)
    if replay.status.plan is None:
        return _plan(seen, replay.spec, now)
    return _replay(seen, replay.spec, now)


def _finished(seen: Observed, spec: ReplaySpec, now: datetime) -> Decision:
    status = seen.replay.status
    end = parse_time(status.completion_time or "") + timedelta(seconds=spec.ttl_seconds_after_finished)
    if seen.retained or now < end:
        return Decision(status, after=None if seen.retained else max(1.0, (end - now).total_seconds()))
    return Decision(status, expire=True)


def _plan(seen: Observed, spec: ReplaySpec, now: datetime) -> Decision:
    job = _own(seen, Stage.PLAN)
    if job is None or not job.over:
        return _work(seen, spec, Stage.PLAN, now)
    outcome = outcome_of(job)
    if outcome.phase != "Succeeded":
        return _end(seen, outcome, now)
    if outcome.result is None:
        # Its pod is gone, and with it what it found. A dry run is soon made again.
        return _step(seen, "Planning", Reason.JOB_REPLACED, f"Job {job.name} left no result and is run again", job)
    seen = _with_status(seen, replace(seen.replay.status, plan=plan_of(outcome.result)))
    if spec.mode == "DryRun" or not outcome.result.matched:
        return _end(seen, _of_plan(outcome), now)
    return _replay(seen, spec, now)


def _replay(seen: Observed, spec: ReplaySpec, now: datetime) -> Decision:
    job = _own(seen, Stage.REPLAY)
    if job and job.over:
        return _end(seen, outcome_of(job), now)
    if spec.approval == "Manual" and not spec.approved and job is None and not spec.suspend:
        key = seen.replay.meta.key
        approve = (
            f"""kubectl -n {key.namespace} patch dlr {key.name} --type=merge -p '{{"spec":{{"approved":true}}}}'"""
        )
        return _step(seen, "AwaitingApproval", Reason.AWAITING_APPROVAL, f"the plan waits for approval: {approve}")
    return _work(seen, spec, Stage.REPLAY, now)


def _work(seen: Observed, spec: ReplaySpec, stage: Stage, now: datetime) -> Decision:
    """A Job that is to run and has not ended."""
    job = seen.jobs.get(stage)
    if spec.suspend:
        return _suspended(seen, job)
    if job:
        return _active(seen, spec, stage, job, now)
    if obstacle := seen.obstacles.get(stage):
        return waiting(seen, obstacle)
    return _running(seen, stage, now, None, create=True)


def _active(seen: Observed, spec: ReplaySpec, stage: Stage, job: JobView, now: datetime) -> Decision:
    if job.state is JobState.STOPPING:
        return _step(seen, "Pending", Reason.JOB_REPLACED, f"the last pod of Job {job.name} has not ended yet")
    if job.owner != seen.replay.meta.uid:
        return waiting(seen, Obstacle(Reason.JOB_NAME_TAKEN, f"Job {job.name} belongs to another object: delete it"))
    if job.command_hash != job_request(seen.replay, spec, stage).command_hash:
        return _step(seen, "Pending", Reason.JOB_REPLACED, f"Job {job.name} is made anew with the changed spec", job)
    return _running(seen, stage, now, job.waiting)


def _running(seen: Observed, stage: Stage, now: datetime, held_by: Waiting | None, *, create: bool = False) -> Decision:
    status = seen.replay.status
    seen = _with_status(seen, replace(status, start_time=status.start_time or format_time(now)))
    phase: Phase = "Planning" if stage is Stage.PLAN else "Running"
    if held_by:
        step = _step(seen, phase, held_by.reason, f"no pod of the Job runs: {held_by.message}")
    elif stage is Stage.PLAN:
        step = _step(seen, phase, Reason.PLANNING, "a dry run looks for what matches")
    else:
        step = _step(seen, phase, Reason.RUNNING, "events are sent back to their topic")
    status = replace(step.status, job_name=job_name(seen.replay, stage))
    return Decision(status, create=stage if create else None, after=PROGRESS_INTERVAL)


def _suspended(seen: Observed, job: JobView | None) -> Decision:
    if job is None:
        return _step(seen, "Suspended", Reason.SUSPENDED, "it goes on where it stopped when spec.suspend is false")
    active = job.state is JobState.ACTIVE and job.owner == seen.replay.meta.uid
    return _step(seen, "Suspended", Reason.STOPPING, f"Job {job.name} is being stopped", job if active else None)


def waiting(seen: Observed, obstacle: Obstacle) -> Decision:
    """No Job is started, and the status says why."""
    return _step(seen, "Pending", obstacle.reason, obstacle.message)


def _step(
    seen: Observed, phase: Phase, reason: Reason | PodReason, message: str, delete: JobView | None = None
) -> Decision:
    replay = seen.replay
    status = replace(
        replay.status,
        observed_generation=replay.meta.generation,
        phase=phase,
        id=replay.id,
        progress=seen.progress or replay.status.progress,
    )
    status = replace(status, conditions=conditions(replay.spec, status, reason, message))
    return Decision(status, delete=delete, after=_INTERVALS.get(reason))


def _end(seen: Observed, outcome: Outcome, now: datetime) -> Decision:
    status, result = seen.replay.status, outcome.result
    progress = seen.progress or status.progress
    if not seen.progress and result and result.outcome == "done" and status.plan and seen.jobs.get(Stage.REPLAY):
        progress = result.counters
    ended = replace(
        status,
        progress=progress,
        report=result.report if result else None,
        start_time=status.start_time or format_time(now),
        completion_time=format_time(now),
    )
    seen = _with_status(seen, ended)
    if outcome.phase == "Nothing" and progress and progress.sent:
        # It had come to its end before, and its Job was made once more.
        return _step(seen, "Succeeded", Reason.COMPLETED, "all that matched has been replayed")
    return _step(seen, outcome.phase, outcome.reason, (outcome.message or "done") + _held_up_before(outcome, status))


def _held_up_before(outcome: Outcome, before: ReplayStatus) -> str:
    """What kept its Job from running, which is forgotten with the pod."""
    stuck = outcome.phase == "Failed" and outcome.result is None and reason_of(before) in tuple(PodReason)
    return f"; before, {message_of(before)}" if stuck else ""


def _of_plan(outcome: Outcome) -> Outcome:
    """The end of a replay that ends with its plan."""
    matched = outcome.result.matched if outcome.result else 0
    if not matched:
        return Outcome("Nothing", Reason.NOTHING_TO_REPLAY, "no dead letter matches", outcome.result)
    return dataclasses.replace(outcome, message=f"{matched} dead letters match; spec.mode DryRun changes nothing")


def _own(seen: Observed, stage: Stage) -> JobView | None:
    job = seen.jobs.get(stage)
    return job if job and job.owner == seen.replay.meta.uid else None


def _with_status(seen: Observed, status: ReplayStatus) -> Observed:
    return dataclasses.replace(seen, replay=dataclasses.replace(seen.replay, status=status))
