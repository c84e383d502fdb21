"""When tombstones are purged, and what came of it: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec.structs import replace

from activity_indexer_operator.jobs.job import COMPONENT_PURGE, RESULT_FILE, JobRequest
from activity_indexer_operator.jobs.settings import JobSettings
from activity_indexer_operator.jobs.view import JobState, JobView
from activity_indexer_operator.kube.objects import Condition, Meta, View
from activity_indexer_operator.kube.schema import Count, Time, described
from activity_indexer_operator.kube.time import format_time
from activity_indexer_operator.tasks.cron import DEFAULT_ZONE, check, next_due
from activity_indexer_operator.tasks.schedules import (
    Cron,
    LastTime,
    NextTime,
    Since,
    SpecHash,
    TimeZone,
    due_since,
    spec_hash,
    timed_name,
)

PURGE_CONDITION: Final = "TombstonesPurged"
SECONDS_KEPT: Final = 86_400
"""How long (seconds) a Job is kept after its end, for its logs."""
SECONDS_MAX: Final = 3600
"""Seconds after which a Job is stopped, as replays wait for it; the next one continues."""


class Tombstones(View, frozen=True):
    """When deletions are forgotten."""

    purge_schedule: Annotated[
        Cron | None,
        described(
            "When tombstones past the horizon are purged, by a Job, while no replay is open: five fields of cron, or "
            "@daily and the like; absent: never."
        ),
    ] = None
    time_zone: TimeZone = DEFAULT_ZONE
    horizon: Annotated[
        str,
        msgspec.Meta(pattern=r"^\d+(\.\d+)?[smhd]$"),
        described(
            "Age of a tombstone that is purged: longer than any dead letter lives, and any old event may still come.",
            pattern="^[1-9][0-9]{0,5}(d|h|m|s)$",
        ),
    ] = "30d"
    suspend: Annotated[bool, described("Whether the schedule is suspended.")] = False


class PurgeStatus(View, frozen=True):
    """The purges of tombstones."""

    spec_hash: SpecHash
    since: Since
    last_schedule_time: LastTime | None = None
    next_schedule_time: NextTime | None = None
    open_job: Annotated[str | None, described("The Job that runs.")] = None
    last_purge_time: Annotated[Time | None, described("When the last one that succeeded ended.")] = None
    purged: Annotated[Count | None, described("Tombstones that it removed.")] = None
    failure: Annotated[str | None, described("Why the last one failed.")] = None


class PurgeReason(StrEnum):
    """Reasons of the condition TombstonesPurged."""

    PURGED = "Purged"
    NOT_YET = "NotYet"
    REPLAY_OPEN = "ReplayOpen"
    SUSPENDED = "Suspended"
    NOT_ACTIVE = "IndexerNotActive"
    INVALID = "ScheduleInvalid"
    FAILED = "PurgeFailed"


class Purged(View, frozen=True):
    """The result of the command."""

    found: int
    purged: int
    kept: int


@dataclass(frozen=True, slots=True)
class PurgeStep:
    """`create` is the name of the Job to create now, if any."""

    create: str | None
    status: PurgeStatus
    condition: Condition


def decide_purge(
    indexer: str,
    wanted: Tombstones,
    cron: str,
    known: PurgeStatus | None,
    job: JobView | None,
    now: datetime,
    *,
    open_replay: str | None = None,
    active: bool = True,
) -> PurgeStep:
    """The next step; `job` is the one that the status names as open, `open_replay` a replay that has not ended.

    A replay may send events that are older than the horizon: without their tombstones they would restore what was
    deleted. So nothing is purged while a replay is open.
    """
    status = _judged(_current(wanted, known, now), job, now)
    if problem := check(cron, wanted.time_zone):
        return _still(
            replace(status, next_schedule_time=None), PurgeReason.INVALID, f"tombstones.purgeSchedule: {problem}"
        )
    if not active or wanted.suspend:
        reason = PurgeReason.SUSPENDED if active else PurgeReason.NOT_ACTIVE
        return _still(replace(status, next_schedule_time=None), reason, "no tombstones are purged now")
    status = replace(status, next_schedule_time=format_time(next_due(cron, now, wanted.time_zone)))
    if status.open_job:
        return _still(status, *_last(status))
    due = due_since(cron, wanted.time_zone, status.last_schedule_time or status.since, now)
    if due is None:
        return _still(status, *_last(status))
    if open_replay:
        return _still(status, PurgeReason.REPLAY_OPEN, f"DeadLetterReplay {open_replay} has not ended yet")
    name = timed_name(indexer, "purge-", due)
    status = replace(status, last_schedule_time=format_time(due), open_job=name)
    return PurgeStep(name, status, _condition(status, *_last(status)))


def purge_request(name: str, indexer: Meta, wanted: Tombstones) -> JobRequest:
    """The Job."""
    return JobRequest(
        name=name,
        owner=indexer,
        indexer=indexer.key.name,
        component=COMPONENT_PURGE,
        arguments=("purge-tombstones", "--older-than", wanted.horizon, "--json", "--result-file", RESULT_FILE),
        settings=JobSettings(active_deadline_seconds=SECONDS_MAX),
        seconds_kept=SECONDS_KEPT,
    )


def _current(wanted: Tombstones, known: PurgeStatus | None, now: datetime) -> PurgeStatus:
    digest = spec_hash(wanted)
    if known is None:
        return PurgeStatus(digest, format_time(now))
    if known.spec_hash != digest:
        return replace(known, spec_hash=digest, since=format_time(now), last_schedule_time=None)
    return known


def _judged(status: PurgeStatus, job: JobView | None, now: datetime) -> PurgeStatus:
    if status.open_job is None or (job and not job.over):
        return status
    status = replace(status, open_job=None)
    if job is None:
        return replace(status, failure="its Job was gone before its result was read")
    if job.state is JobState.FAILED:
        cause = f"code {job.ended.exit_code}: {job.ended.message[-300:]}" if job.ended else "its pod is gone"
        return replace(status, failure=f"Job {job.name} failed ({job.reason}), {cause}".strip(": "))
    return replace(status, failure=None, last_purge_time=format_time(now), purged=_purged(job))


def _purged(job: JobView) -> int | None:
    try:
        return msgspec.json.decode(job.ended.message if job.ended else "", type=Purged).purged
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _last(status: PurgeStatus) -> tuple[PurgeReason, str]:
    if status.failure:
        return PurgeReason.FAILED, status.failure
    if status.last_purge_time is None:
        return PurgeReason.NOT_YET, "the first time has not come yet"
    return PurgeReason.PURGED, "tombstones past the horizon are purged"


def _still(status: PurgeStatus, reason: PurgeReason, message: str) -> PurgeStep:
    return PurgeStep(None, status, _condition(status, reason, message))


def _condition(status: PurgeStatus, reason: PurgeReason, message: str) -> Condition:
    """The result of the last purge, also while the next one runs or waits, so that it does not flap."""
    if reason is PurgeReason.INVALID or status.failure:
        return Condition(PURGE_CONDITION, "False", reason, message)
    return Condition(PURGE_CONDITION, "True" if status.last_purge_time else "Unknown", reason, message)
