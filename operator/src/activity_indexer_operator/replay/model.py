"""Typed views of a DeadLetterReplay, as k8s/crd/deadletterreplays.yaml describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
    """What was seen and done; a number that is not known is absent, never zero."""

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
        """Whether it has come to its end, whatever it was."""
        return self.status.completion_time is not None

    @property
    def indexer(self) -> str | None:
        """The name of its ActivityIndexer; None where the spec does not tell."""
        return None if isinstance(self.spec, InvalidSpec) else self.spec.indexer_ref.name

    @property
    def id(self) -> str:
        """Its name in Kafka. An object that is made anew has another uid, and so begins anew."""
        given = None if isinstance(self.spec, InvalidSpec) else self.spec.id
        return self.status.id or given or f"{self.meta.key.name}-{self.meta.uid[:8]}"

    @property
    def leaves_none(self) -> bool:
        """Whether it passes over no dead letter up to its read position: it means all, or all there were fitted."""
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
