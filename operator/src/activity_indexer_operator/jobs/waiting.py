"""Why a Job has no pod that runs: from the Job and its pods alone, so that Events need not be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from activity_indexer_operator.kube.objects import Body
from activity_indexer_operator.kube.time import parse_time

PATIENCE: Final = timedelta(seconds=30)
"""Time that a pod may take to be made, and to start, before it is told: what holds it up tells nothing itself."""
_SILENT: Final = ("", "ContainerCreating", "PodInitializing")
_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
                 "RegistryUnavailable", "SignatureValidationFailed")  # fmt: skip
_CONFIG: Final = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


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


def why_waiting(job: Body, pods: Sequence[Body], now: datetime) -> Waiting | None:
    """Why no pod of an active Job runs; None: one does, or it is too early to say."""
    if not pods:
        return _no_pod(job, now)
    held = (told for pod in pods if not has_ended(pod) and (told := _told(pod) or _silent(pod, now)))
    return next(held, None)


def _no_pod(job: Body, now: datetime) -> Waiting | None:
    meta = job["metadata"]
    place = f"kubectl -n {meta['namespace']} describe job {meta['name']}"
    if job["spec"].get("suspend"):
        return Waiting(PodReason.POD_NOT_CREATED, f"Job {meta['name']} is suspended: {place}")
    since = meta["creationTimestamp"]
    if now - parse_time(since) < PATIENCE:
        return None
    told = f"Job {meta['name']} has had no pod since {since}; a quota or an admission rule may refuse it: {place}"
    return Waiting(PodReason.POD_NOT_CREATED, told)


def _told(pod: Body) -> Waiting | None:
    """What the pod's status says itself."""
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting") or {}
        word = waiting.get("reason", "")
        if word not in _SILENT:
            return Waiting(_reason(word), _text(word, waiting.get("message", "")))
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            told = _text(condition.get("reason", ""), condition.get("message", ""))
            return Waiting(PodReason.POD_UNSCHEDULABLE, told)
    return None


def _silent(pod: Body, now: datetime) -> Waiting | None:
    """A pod that has a node and does not start: a volume that cannot be mounted is told by Events alone."""
    meta = pod["metadata"]
    since = meta["creationTimestamp"]
    begun = any("running" in container.get("state", {}) for container in _containers(pod))
    if begun or pod.get("status", {}).get("phase", "Pending") != "Pending" or now - parse_time(since) < PATIENCE:
        return None
    place = f"kubectl -n {meta['namespace']} describe pod {meta['name']}"
    told = f"pod {meta['name']} has not started since {since}; a volume may be missing, or its image large: {place}"
    return Waiting(PodReason.POD_NOT_STARTED, told)


def _reason(word: str) -> PodReason:
    if word in _IMAGE:
        return PodReason.IMAGE_NOT_PULLED
    return PodReason.CONTAINER_REFUSED if word in _CONFIG else PodReason.POD_WAITING


def _text(word: str, message: str) -> str:
    return f"{word}: {message}".rstrip(": ")


def has_ended(pod: Body) -> bool:
    """Whether no container of it runs any more, nor will."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _containers(pod: Body) -> Iterator[dict[str, Any]]:
    status = pod.get("status", {})
    for name in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(name) or ()
