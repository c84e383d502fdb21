"""The state of a Job, from the Job and its pods alone, so that Events need not be read: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from activity_common.trace_context import VARIABLE, TraceContext, parse_traceparent
from activity_indexer_operator.jobs.job import ANNOTATION_COMMAND
from activity_indexer_operator.kube.objects import Body, controller_of
from activity_indexer_operator.kube.time import parse_time

POD_LABEL: Final = "batch.kubernetes.io/job-name"
PATIENCE: Final = timedelta(seconds=30)
"""How long a pod may take to be created, and to start, before the delay is reported."""
_STARTING: Final = ("", "ContainerCreating", "PodInitializing")
_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
                 "RegistryUnavailable", "SignatureValidationFailed")  # fmt: skip
_CONFIG: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


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


class PodReason(StrEnum):
    """Why no pod of a Job runs; also reasons of conditions and Events."""

    POD_NOT_CREATED = "PodNotCreated"
    POD_UNSCHEDULABLE = "PodUnschedulable"
    IMAGE_NOT_PULLED = "ImageNotPulled"
    CONTAINER_REFUSED = "ContainerRefused"
    POD_NOT_STARTED = "PodNotStarted"
    POD_WAITING = "PodWaiting"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What holds a Job up."""

    reason: PodReason
    message: str


@dataclass(frozen=True, slots=True)
class JobView:
    """One Job; `owner` is its controller's uid, `reason` why it failed, `waiting` why its pod does not run.

    `trace` is the span that its command is part of.
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
    """The Job of this name, with the pods that carry its name; None when neither is left."""
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
        waiting=_why_waiting(job, own, now) if state is JobState.ACTIVE else None,
        trace=_trace(job),
    )


def _state(job: Body) -> tuple[JobState, str]:
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return JobState(condition["type"].lower()), condition.get("reason", "")
    return JobState.ACTIVE, ""


def _trace(job: Body) -> TraceContext | None:
    """The span in the environment of its pods."""
    for container in job["spec"].get("template", {}).get("spec", {}).get("containers", ()):
        for variable in container.get("env") or ():
            if variable["name"] == VARIABLE:
                return parse_traceparent(variable.get("value", "").encode())
    return None


def _newest_end(pods: Iterable[Body]) -> Ended | None:
    containers = (each for pod in pods for each in pod.get("status", {}).get("containerStatuses") or ())
    ends = [end for each in containers if (end := each.get("state", {}).get("terminated"))]
    if not ends:
        return None
    newest = max(ends, key=lambda end: end.get("finishedAt") or "")
    return Ended(int(newest["exitCode"]), newest.get("reason", ""), newest.get("message", ""))


def _why_waiting(job: Body, pods: Sequence[Body], now: datetime) -> Waiting | None:
    """Why no pod of an active Job runs; None: one does, or it is too early to say."""
    if not pods:
        return _no_pod(job, now)
    reasons = (_from_status(pod) or _not_started(pod, now) for pod in pods if not has_ended(pod))
    return next(filter(None, reasons), None)


def _no_pod(job: Body, now: datetime) -> Waiting | None:
    meta = job["metadata"]
    place = f"kubectl -n {meta['namespace']} describe job {meta['name']}"
    if job["spec"].get("suspend"):
        return Waiting(PodReason.POD_NOT_CREATED, f"Job {meta['name']} is suspended: {place}")
    since = meta["creationTimestamp"]
    if now - parse_time(since) < PATIENCE:
        return None
    message = f"Job {meta['name']} has had no pod since {since}; a quota or an admission rule may refuse it: {place}"
    return Waiting(PodReason.POD_NOT_CREATED, message)


def _from_status(pod: Body) -> Waiting | None:
    """What the pod's status reports itself."""
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        if (word := waiting.get("reason", "")) not in _STARTING:
            reason = PodReason.CONTAINER_REFUSED if word in _CONFIG else PodReason.POD_WAITING
            reason = PodReason.IMAGE_NOT_PULLED if word in _IMAGE else reason
            return Waiting(reason, f"{word}: {waiting.get('message', '')}".rstrip(": "))
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = f"{condition.get('reason', '')}: {condition.get('message', '')}".rstrip(": ")
            return Waiting(PodReason.POD_UNSCHEDULABLE, message)
    return None


def _not_started(pod: Body, now: datetime) -> Waiting | None:
    """A pod that has a node and does not start: only Events report a volume that cannot be mounted."""
    meta = pod["metadata"]
    since = meta["creationTimestamp"]
    begun = any("running" in container.get("state", {}) for container in _containers(pod))
    if begun or pod.get("status", {}).get("phase", "Pending") != "Pending" or now - parse_time(since) < PATIENCE:
        return None
    place = f"kubectl -n {meta['namespace']} describe pod {meta['name']}"
    message = f"pod {meta['name']} has not started since {since}; a volume may be missing, or its image large: {place}"
    return Waiting(PodReason.POD_NOT_STARTED, message)


def has_ended(pod: Body) -> bool:
    """Whether no container of it runs, or will run."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _containers(pod: Body) -> Iterator[dict[str, Any]]:
    status = pod.get("status", {})
    for name in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(name) or ()
