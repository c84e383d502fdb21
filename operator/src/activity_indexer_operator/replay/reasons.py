"""The closed sets of what conditions and Events of replays may say."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """Types of conditions of a DeadLetterReplay."""

    PLANNED = "Planned"
    APPROVED = "Approved"
    SUCCEEDED = "Succeeded"


class Reason(StrEnum):
    """Reasons of the condition Succeeded: why it is not yet, why it is, why it never will be."""

    # Unknown: it has not ended.
    SPEC_INVALID = "SpecInvalid"
    INDEXER_NOT_FOUND = "IndexerNotFound"
    INDEXER_INVALID = "IndexerInvalid"
    INDEXER_SUSPENDED = "IndexerSuspended"
    INDEXER_DRY_RUN = "IndexerInDryRun"
    WORKLOAD_NOT_FOUND = "WorkloadNotFound"
    ANOTHER_REPLAY = "AnotherReplayRunning"
    PURGE_RUNNING = "PurgeRunning"
    JOB_NAME_TAKEN = "JobNameTaken"
    JOB_REFUSED = "JobRefused"
    JOB_REPLACED = "JobBeingReplaced"
    PLANNING = "PlanRunning"
    AWAITING_APPROVAL = "AwaitingApproval"
    RUNNING = "ReplayRunning"
    POD_NOT_CREATED = "PodNotCreated"
    POD_UNSCHEDULABLE = "PodUnschedulable"
    IMAGE_NOT_PULLED = "ImageNotPulled"
    CONTAINER_REFUSED = "ContainerRefused"
    POD_NOT_STARTED = "PodNotStarted"
    POD_WAITING = "PodWaiting"
    STOPPING = "Stopping"
    SUSPENDED = "Suspended"
    # True: it has.
    COMPLETED = "Completed"
    NOTHING_TO_REPLAY = "NothingToReplay"
    # False: it failed.
    REFUSED = "Refused"
    WRONG_SETTINGS = "WrongSettings"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


HELD_UP: Final = (
    Reason.POD_NOT_CREATED, Reason.POD_UNSCHEDULABLE, Reason.IMAGE_NOT_PULLED, Reason.CONTAINER_REFUSED,
    Reason.POD_NOT_STARTED, Reason.POD_WAITING,
)  # fmt: skip
"""The Job is there, and no pod of it runs."""


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
