"""The closed sets of what conditions and Events of replays may say."""

from __future__ import annotations

from enum import StrEnum


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
