"""Typed views of a DeadLetterReplay, as k8s/crd/deadletterreplays.yaml describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from activity_common.replay_result import Cause, Counters, Report
from activity_indexer_operator.jobs.job import Correction, JobSettings
from activity_indexer_operator.kube.objects import (
    Body,
    Condition,
    InvalidSpec,
    Meta,
    NameRef,
    Natural,
    Positive,
    View,
    meta_of,
)
from activity_indexer_operator.kube.time import parse_time

LABEL_ORIGIN: Final = "activityindexer.io/origin"
"""On replays that the operator made: `request` or `schedule`."""

Mode = Literal["DryRun", "Replay"]
Phase = Literal[
    "Pending", "Planning", "AwaitingApproval", "Running", "Suspended", "Succeeded", "Nothing", "Refused", "Failed"
]
GOOD_ENDS: Final[tuple[Phase, ...]] = ("Succeeded", "Nothing")
BAD_ENDS: Final[tuple[Phase, ...]] = ("Refused", "Failed")
Words = tuple[str, ...]


class Kind(StrEnum):
    """Types of conditions of a DeadLetterReplay."""

    PLANNED = "Planned"
    APPROVED = "Approved"
    SUCCEEDED = "Succeeded"


class Reason(StrEnum):
    """Reasons of the condition Succeeded; PodReason has those of a Job whose pod does not run."""

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
    # True: it succeeded.
    COMPLETED = "Completed"
    NOTHING_TO_REPLAY = "NothingToReplay"
    # False: it failed.
    REFUSED = "Refused"
    WRONG_SETTINGS = "WrongSettings"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


class Selection(View, frozen=True):
    """Which dead letters are meant; empty: all. Times are RFC 3339 and mean the last failure."""

    stages: Words = ()
    errors: Words = ()
    event_types: Words = ()
    users: Words = ()
    transactions: Words = ()
    since: str | None = None
    until: str | None = None
    partitions: tuple[Natural, ...] = ()
    offsets: Words = ()
    max: Positive | None = None


class Template(View, frozen=True):
    """What a replay does; also what requests and schedules of an ActivityIndexer make replays from."""

    mode: Mode = "DryRun"
    approval: Literal["Automatic", "Manual"] = "Automatic"
    selection: Selection = Selection()
    rate: Positive | None = None
    correction: Correction | None = None
    include_parked: bool = False
    include_stale: bool = False
    max_replays: Positive | None = None
    ttl_seconds_after_finished: Natural = 604_800
    job: JobSettings = JobSettings()


class ReplaySpec(Template, frozen=True, kw_only=True):
    """What is wanted."""

    indexer_ref: NameRef
    id: str | None = None
    approved: bool = False
    suspend: bool = False


class Plan(View, frozen=True, omit_defaults=False):
    """What a dry run found; `up_to` is the frozen end, `partition:offset,...`, exclusive."""

    matched: int
    up_to: str
    stale: int = 0
    parked: int = 0
    refused: int = 0
    causes: tuple[Cause, ...] = ()


class ReplayStatus(View, frozen=True):
    """What was found and done; a number that is not known is missing, never zero."""

    observed_generation: int | None = None
    phase: Phase | None = None
    id: str | None = None
    job_name: str | None = None
    trace_id: str | None = None
    plan: Plan | None = None
    progress: Counters | None = None
    report: Report | None = None
    start_time: str | None = None
    completion_time: str | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def reason(self) -> str:
        """Why the replay is in its phase; empty before the first pass."""
        return next((each.reason for each in self.conditions if each.type == Kind.SUCCEEDED), "")

    @property
    def message(self) -> str:
        """The same in a sentence."""
        return next((each.message for each in self.conditions if each.type == Kind.SUCCEEDED), "")


@dataclass(frozen=True, slots=True)
class Replay:
    """One DeadLetterReplay as it was read."""

    meta: Meta
    created: datetime
    labels: Mapping[str, str]
    spec: ReplaySpec | InvalidSpec
    status: ReplayStatus

    @property
    def finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status.completion_time is not None

    @property
    def indexer(self) -> str | None:
        """The name of its ActivityIndexer; None where the spec is invalid."""
        return None if isinstance(self.spec, InvalidSpec) else self.spec.indexer_ref.name

    @property
    def id(self) -> str:
        """Its name in Kafka. An object that is deleted and created again has another uid, and starts from scratch."""
        given = None if isinstance(self.spec, InvalidSpec) else self.spec.id
        return self.status.id or given or f"{self.meta.key.name}-{self.meta.uid[:8]}"

    @property
    def leaves_none(self) -> bool:
        """Whether it leaves out no dead letter up to its read position: it selects all, or all that it read matched."""
        if isinstance(self.spec, InvalidSpec) or self.spec.mode == "DryRun" or self.status.start_time is None:
            return False
        wanted, counted = self.spec.selection, self.status.progress
        if wanted == Selection():
            return True
        # While it runs, the position may be ahead of the counters.
        begins_later = wanted.since or wanted.partitions or wanted.offsets
        return bool(self.finished and counted and not (begins_later or counted.skipped or counted.refused))


def parse_replay(body: Body) -> Replay:
    """The object behind the API server's JSON; an unreadable status counts as none."""
    meta = body["metadata"]
    return Replay(
        meta=meta_of(body),
        created=parse_time(meta["creationTimestamp"]),
        labels=meta.get("labels") or {},
        spec=_spec(body.get("spec", {})),
        status=_status(body.get("status", {})),
    )


def _spec(value: Any) -> ReplaySpec | InvalidSpec:
    try:
        return msgspec.convert(value, ReplaySpec)
    except msgspec.ValidationError as error:
        return InvalidSpec(f"spec: {error}")


def _status(value: Any) -> ReplayStatus:
    try:
        return msgspec.convert(value, ReplayStatus)
    except msgspec.ValidationError:
        return ReplayStatus()
