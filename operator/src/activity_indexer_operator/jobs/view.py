"""What a Job and its pods say: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from activity_common.trace_context import VARIABLE, TraceContext, parse_traceparent
from activity_indexer_operator.jobs.job import ANNOTATION_COMMAND
from activity_indexer_operator.jobs.waiting import Waiting, has_ended, why_waiting
from activity_indexer_operator.kube.objects import Body, controller_of

POD_LABEL: Final = "batch.kubernetes.io/job-name"


class JobState(StrEnum):
    """Where a Job is."""

    STOPPING = "stopping"
    """It is deleted or being deleted, and a pod of it may still run."""
    ACTIVE = "active"
    COMPLETE = "complete"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ended:
    """How the newest pod that ended did so; `message` is what it left in its termination log."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class JobView:
    """One Job; `owner` is its controller's uid, `reason` why it failed, `waiting` why its pod does not run.

    `trace` is the span that its command was told to be part of.
    """

    name: str
    uid: str
    owner: str
    state: JobState
    command_hash: str = ""
    reason: str = ""
    ended: Ended | None = None
    waiting: Waiting | None = None
    trace: TraceContext | None = None

    @property
    def over(self) -> bool:
        """Whether it has an outcome."""
        return self.state in (JobState.COMPLETE, JobState.FAILED)


def job_view(name: str, job: Body | None, pods: Iterable[Body], now: datetime) -> JobView | None:
    """The Job of this name, with the pods that carry its name; None when nothing of it is there any more."""
    pods = list(pods)
    if job is None:
        return JobView(name, "", "", JobState.STOPPING) if not all(map(has_ended, pods)) else None
    meta, owner = job["metadata"], controller_of(job)
    state, reason = _state(job)
    own = [pod for pod in pods if (controller := controller_of(pod)) and controller[2] == meta["uid"]]
    return JobView(
        name=name,
        uid=meta["uid"],
        owner=owner[2] if owner else "",
        state=JobState.STOPPING if "deletionTimestamp" in meta else state,
        command_hash=(meta.get("annotations") or {}).get(ANNOTATION_COMMAND, ""),
        reason=reason,
        ended=_newest_end(own),
        waiting=why_waiting(job, own, now) if state is JobState.ACTIVE else None,
        trace=_trace(job),
    )


def _state(job: Body) -> tuple[JobState, str]:
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return JobState(condition["type"].lower()), condition.get("reason", "")
    return JobState.ACTIVE, ""


def _trace(job: Body) -> TraceContext | None:
    """What its pods were told to be part of."""
    for container in job["spec"].get("template", {}).get("spec", {}).get("containers", ()):
        for variable in container.get("env") or ():
            if variable["name"] == VARIABLE:
                return parse_traceparent(variable.get("value", "").encode())
    return None


def _newest_end(pods: Iterable[Body]) -> Ended | None:
    ends = [
        end
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses") or ()
        if (end := container.get("state", {}).get("terminated"))
    ]
    if not ends:
        return None
    newest = max(ends, key=lambda end: end.get("finishedAt") or "")
    return Ended(int(newest["exitCode"]), newest.get("reason", ""), newest.get("message", ""))
