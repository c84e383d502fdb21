"""Typed views of a DeadLetterReplay, as k8s/crd/deadletterreplays.yaml describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal

from activity_common.replay_result import Cause, Counters, Report
from activity_indexer_operator.jobs.settings import Correction, JobSettings
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
    parsed_spec,
    parsed_status,
)
from activity_indexer_operator.kube.schema import Count, Rule, Time, described
from activity_indexer_operator.kube.time import parse_time

LABEL_ORIGIN: Final = "activityindexer.io/origin"
"""On replays that the operator made: `request` or `schedule`."""

Mode = Literal["DryRun", "Replay"]
Phase = Literal[
    "Pending", "Planning", "AwaitingApproval", "Running", "Suspended", "Succeeded", "Nothing", "Refused", "Failed"
]
GOOD_ENDS: Final[tuple[Phase, ...]] = ("Succeeded", "Nothing")
BAD_ENDS: Final[tuple[Phase, ...]] = ("Refused", "Failed")


def _fixed(condition: str, message: str, path: str) -> Rule:
    """A rule for an update of a replay that has started."""
    return Rule(f"!has(oldSelf.status) || !has(oldSelf.status.startTime) || ({condition})", message, path)


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
    """Which dead letters are selected: those that match every part, and one value of it; empty: all."""

    RULES: ClassVar = (
        Rule("!(has(self.since) && has(self.until)) || self.since < self.until", "since must be before until"),
    )

    stages: Annotated[
        tuple[Annotated[str, described("", enum=["decode", "validate", "enrich", "index", "unknown"])], ...],
        described("Where they failed.", list_type="set", maxItems=5),
    ] = ()
    errors: Annotated[
        tuple[Annotated[str, described("", minLength=1, maxLength=256)], ...],
        described("Classes of errors.", list_type="set", maxItems=64),
    ] = ()
    event_types: Annotated[
        tuple[Annotated[str, described("", minLength=1, maxLength=128)], ...],
        described("Such as transaction.created.", list_type="set", maxItems=16),
    ] = ()
    users: Annotated[
        tuple[Annotated[str, described("", minLength=1, maxLength=512)], ...],
        described("Ids of users.", list_type="set", maxItems=256),
    ] = ()
    transactions: Annotated[
        tuple[Annotated[str, described("", minLength=1, maxLength=512)], ...],
        described("Ids of transactions.", list_type="set", maxItems=256),
    ] = ()
    since: Annotated[Time | None, described("Failed then or later (RFC 3339).")] = None
    until: Annotated[Time | None, described("Failed before (RFC 3339).")] = None
    partitions: Annotated[
        tuple[Natural, ...], described("Partitions of the dead-letter topic.", list_type="set", maxItems=256)
    ] = ()
    offsets: Annotated[
        tuple[Annotated[str, described("", maxLength=48, pattern="^[0-9]{1,9}:[0-9]{1,18}(-([0-9]{1,18})?)?$")], ...],
        described(
            "Places in the dead-letter topic: 0:10-200 (both included), 0:10- or 0:10. They add to partitions.",
            list_type="set",
            maxItems=256,
        ),
    ] = ()
    max: Annotated[Positive | None, described("At most this many.", format="int64")] = None


class Template(View, frozen=True):
    """What a replay does; also what requests and schedules of an ActivityIndexer make replays from."""

    mode: Annotated[
        Mode, described("DryRun only plans; Replay plans, and then sends what matches back to its topic.")
    ] = "DryRun"
    approval: Annotated[
        Literal["Automatic", "Manual"], described("Manual lets a replay wait with its plan until approved is true.")
    ] = "Automatic"
    selection: Annotated[Selection, described("", default={})] = Selection()
    rate: Annotated[
        Positive | None,
        described(
            "Events per second at most. Without it, as fast as the brokers take them. A change is followed while the "
            "replay runs.",
            maximum=1000000,
        ),
    ] = None
    correction: Annotated[
        Correction | None,
        described(
            "What is changed in each event on the way: a JSON object is a merge patch (RFC 7396), a JSON array a JSON "
            "Patch (RFC 6902)."
        ),
    ] = None
    include_parked: Annotated[bool, described("Also what was parked because it had come back too often.")] = False
    include_stale: Annotated[
        bool, described("Also what would change nothing, because its transaction has a newer event by now.")
    ] = False
    max_replays: Annotated[
        Positive | None,
        described(
            "An event that has been replayed this often is parked. Without it, what the indexer's settings say.",
            maximum=1000,
        ),
    ] = None
    ttl_seconds_after_finished: Annotated[
        Natural, described("Seconds after its end at which the object is deleted, with its Jobs.")
    ] = 604_800
    job: Annotated[JobSettings, described("", default={})] = JobSettings()


class ReplaySpec(Template, frozen=True, kw_only=True):
    """What is wanted."""

    RULES: ClassVar = (
        Rule(
            "self.indexerRef == oldSelf.indexerRef",
            "indexerRef is immutable: create another DeadLetterReplay for the other indexer",
        ),
        Rule(
            "has(self.id) == has(oldSelf.id) && (!has(self.id) || self.id == oldSelf.id)",
            "id is immutable: create another DeadLetterReplay",
        ),
        Rule(
            "!oldSelf.approved || self.approved",
            "an approval cannot be taken back: set suspend to stop the replay",
        ),
    )
    OBJECT_RULES: ClassVar = (
        _fixed(
            "self.spec.selection == oldSelf.spec.selection && self.spec.includeParked == oldSelf.spec.includeParked && "
            "self.spec.includeStale == oldSelf.spec.includeStale",
            "selection, includeParked and includeStale are fixed once the replay has started: create another "
            "DeadLetterReplay",
            ".spec.selection",
        ),
        _fixed(
            "has(self.spec.correction) == has(oldSelf.spec.correction) && (!has(self.spec.correction) || "
            "self.spec.correction == oldSelf.spec.correction)",
            "correction is fixed once the replay has started: set suspend to stop it, and create another "
            "DeadLetterReplay",
            ".spec.correction",
        ),
        _fixed(
            "self.spec.mode == oldSelf.spec.mode && self.spec.approval == oldSelf.spec.approval",
            "mode and approval are fixed once the replay has started: create another DeadLetterReplay, with mode "
            "Replay and the same selection",
            ".spec.mode",
        ),
        _fixed(
            "has(self.spec.maxReplays) == has(oldSelf.spec.maxReplays) && (!has(self.spec.maxReplays) || "
            "self.spec.maxReplays == oldSelf.spec.maxReplays)",
            "maxReplays is fixed once the replay has started: create another DeadLetterReplay",
            ".spec.maxReplays",
        ),
    )
    """Rules that need the status, and so stand at the whole object."""

    indexer_ref: Annotated[
        NameRef, described("The ActivityIndexer, in the same namespace, whose dead letters are replayed.")
    ]
    id: Annotated[
        str | None,
        described(
            "Name of the replay in Kafka, where its position is kept. A replay of the same id goes on where the other "
            "one stopped. Default: this object's name and the beginning of its uid, so that each object starts from "
            "scratch.",
            minLength=1,
            maxLength=64,
            pattern="^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        ),
    ] = None
    approved: Annotated[bool, described("The plan is good. It cannot be taken back.")] = False
    suspend: Annotated[bool, described("Stops the Job. Set to false, the replay goes on where it stopped.")] = False


class Plan(View, frozen=True, omit_defaults=False):
    """What the dry run found."""

    matched: Annotated[Count, described("Dead letters that match.")]
    up_to: Annotated[
        str,
        described(
            "The frozen end (exclusive), partition:offset of each partition: what failed later is not part of this "
            "replay."
        ),
    ]
    stale: Annotated[Count, described("Those whose transaction has a newer event by now.")] = 0
    parked: Annotated[Count, described("Those that came back too often.")] = 0
    refused: Annotated[Count, described("Those that the correction would leave invalid.")] = 0
    causes: Annotated[
        tuple[Cause, ...],
        described(
            "Where and why they failed; the most frequent ones.", list_type="map", keys=("stage", "error"), maxItems=20
        ),
    ] = ()


class ReplayStatus(View, frozen=True):
    """What was found and done; a number that is not known is missing, never zero."""

    observed_generation: Annotated[Count | None, described("The generation of the spec that all this is about.")] = None
    phase: Annotated[Phase | None, described("The state in a word. The conditions report more.")] = None
    id: Annotated[str | None, described("Name of the replay in Kafka; its consumer group is <group>.replay.<id>.")] = (
        None
    )
    job_name: Annotated[str | None, described("The Job that ran last.")] = None
    trace_id: Annotated[
        str | None,
        described(
            "The trace of this replay: its Jobs, and the events that they send. Absent where the operator traces "
            "nothing."
        ),
    ] = None
    plan: Plan | None = None
    progress: Annotated[Counters | None, described("Dead letters so far, by what became of them.")] = None
    report: Report | None = None
    start_time: Annotated[Time | None, described("When it began.")] = None
    completion_time: Annotated[Time | None, described("When it ended.")] = None
    conditions: Annotated[
        tuple[Condition, ...],
        described("Planned, Succeeded and the like.", list_type="map", keys=("type",), maxItems=16),
    ] = ()

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
        spec=parsed_spec(body, ReplaySpec),
        status=parsed_status(body, ReplayStatus),
    )
