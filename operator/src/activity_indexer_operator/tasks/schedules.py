"""When an ActivityIndexer's replays are created: values in, values out.

The status has what was done before; names follow from the times, so that nothing is created twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec.structs import replace

from activity_indexer_operator.kube.objects import Condition, Positive, Text, View
from activity_indexer_operator.kube.schema import Count, Time, described
from activity_indexer_operator.kube.time import format_time, parse_time
from activity_indexer_operator.replay.model import Replay, Template
from activity_indexer_operator.tasks.cron import DEFAULT_ZONE, check, last_due, next_due

SCHEDULE_CONDITION: Final = "ReplaySchedule"
FAILURES: Final = ("Failed", "Refused")


Cron = Annotated[
    Text,
    described("", minLength=6, maxLength=128, pattern=r"^\S+( \S+){4}$|^@(hourly|daily|weekly|monthly|yearly)$"),
]
TimeZone = Annotated[
    Text, described("Time zone of it, by its IANA name.", maxLength=64, pattern="^[A-Za-z][A-Za-z0-9_+/-]*$")
]
SpecHash = Annotated[str, described("Hash of the settings that all this is about.")]
Since = Annotated[Time, described("When these settings were first seen.")]
LastTime = Annotated[Time, described("The last time that was due and done.")]
NextTime = Annotated[Time, described("The next time.")]


class ReplayRequest(Template, frozen=True, kw_only=True):
    """Ensures that a DeadLetterReplay named <this object>-<id> exists; another id asks for another one."""

    id: Annotated[
        Text,
        described(
            "Name of the request, and of the replay in Kafka.",
            maxLength=32,
            pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        ),
    ]


class ReplaySchedule(Template, frozen=True, kw_only=True):
    """Makes a DeadLetterReplay at each of its times, but none while the one before has not ended."""

    cron: Annotated[Cron, described("When: five fields of cron, or @hourly, @daily, @weekly, @monthly, @yearly.")]
    time_zone: TimeZone = DEFAULT_ZONE
    suspend: Annotated[bool, described("Whether the schedule is suspended.")] = False
    starting_deadline_seconds: Annotated[
        Positive | None,
        described(
            "Seconds after its time at which a replay that could not be made is left out; absent: it is made however "
            "late, but once for all times that were missed.",
            minimum=60,
        ),
    ] = None
    failures_to_stop: Annotated[
        Positive,
        described("Failures in a row after which no more are made, until the schedule is changed.", maximum=100),
    ] = 3


class ScheduleStatus(View, frozen=True):
    """The schedule of replays."""

    spec_hash: SpecHash
    since: Since
    last_schedule_time: LastTime | None = None
    next_schedule_time: NextTime | None = None
    last_replay: Annotated[str | None, described("The last DeadLetterReplay that it made.")] = None
    open_replay: Annotated[str | None, described("The one that it waits for.")] = None
    failures: Annotated[Count, described("Failures in a row.")] = 0


class ScheduleReason(StrEnum):
    """Reasons of the condition ReplaySchedule."""

    SCHEDULED = "Scheduled"
    REPLAY_OPEN = "ReplayOpen"
    SUSPENDED = "Suspended"
    NOT_ACTIVE = "IndexerNotActive"
    INVALID = "ScheduleInvalid"
    STOPPED = "StoppedAfterFailures"


@dataclass(frozen=True, slots=True)
class ScheduleStep:
    """`create` is the name of the replay to create now, if any."""

    create: str | None
    status: ScheduleStatus
    condition: Condition


def decide_schedule(
    indexer: str,
    schedule: ReplaySchedule,
    known: ScheduleStatus | None,
    replays: Mapping[str, Replay],
    now: datetime,
    *,
    active: bool = True,
) -> ScheduleStep:
    """The next step of an indexer's schedule; `replays` are those that exist, `active` is whether it may act at all."""
    status = _judged(_current(schedule, known, now), replays)
    if problem := check(schedule.cron, schedule.time_zone):
        return _still(
            replace(status, next_schedule_time=None), ScheduleReason.INVALID, f"deadLetter.schedule: {problem}"
        )
    if held := _held(schedule, status, active=active):
        return _still(replace(status, next_schedule_time=None), *held)
    status = replace(status, next_schedule_time=format_time(next_due(schedule.cron, now, schedule.time_zone)))
    if status.open_replay:
        return _still(status, ScheduleReason.REPLAY_OPEN, f"DeadLetterReplay {status.open_replay} has not ended yet")
    since = status.last_schedule_time or status.since
    message = f"replays are created by {schedule.cron} {schedule.time_zone}"
    due = due_since(schedule.cron, schedule.time_zone, since, now, schedule.starting_deadline_seconds)
    if due is None:
        return _still(status, ScheduleReason.SCHEDULED, message)
    name = timed_name(indexer, "", due)
    status = replace(status, last_schedule_time=format_time(due), last_replay=name, open_replay=name)
    return ScheduleStep(name, status, _condition(ScheduleReason.SCHEDULED, message))


def due_since(cron: str, zone: str, since: str, now: datetime, deadline: int | None = None) -> datetime | None:
    """The newest time after `since` that has come and is no more than `deadline` seconds ago; None: there is none.

    Of times that were missed only the last counts: what is late is done once.
    """
    due = last_due(cron, now, zone)
    if due <= parse_time(since) or (deadline is not None and now - due > timedelta(seconds=deadline)):
        return None
    return due


def timed_name(indexer: str, what: str, due: datetime) -> str:
    """The name of what is created for a time: the minutes since 1970 make it unique."""
    return f"{indexer}-{what}{int(due.timestamp()) // 60}"


def spec_hash(value: msgspec.Struct) -> str:
    """The same for equal values."""
    return hashlib.blake2b(msgspec.json.encode(value, order="sorted"), digest_size=8).hexdigest()


def _current(schedule: ReplaySchedule, known: ScheduleStatus | None, now: datetime) -> ScheduleStatus:
    wanted = spec_hash(schedule)
    if known is None:
        return ScheduleStatus(wanted, format_time(now))
    if known.spec_hash != wanted:
        # Times of the new schedule before it existed do not count, nor do failures under the old one.
        return replace(known, spec_hash=wanted, since=format_time(now), last_schedule_time=None, failures=0)
    return known


def _judged(status: ScheduleStatus, replays: Mapping[str, Replay]) -> ScheduleStatus:
    if status.open_replay is None:
        return status
    replay = replays.get(status.open_replay)
    if replay is None:
        return replace(status, open_replay=None)
    if not replay.finished:
        return status
    failures = status.failures + 1 if replay.status.phase in FAILURES else 0
    return replace(status, open_replay=None, failures=failures)


def _held(schedule: ReplaySchedule, status: ScheduleStatus, *, active: bool) -> tuple[ScheduleReason, str] | None:
    if not active:
        return ScheduleReason.NOT_ACTIVE, "no replays are created unless spec.mode is Active"
    if schedule.suspend:
        return ScheduleReason.SUSPENDED, "deadLetter.schedule.suspend is true"
    if status.failures >= schedule.failures_to_stop:
        return ScheduleReason.STOPPED, (
            f"{status.failures} replays in a row failed, the last is {status.last_replay}; fix the cause, "
            "then change deadLetter.schedule (suspend it and back is enough)"
        )
    return None


def _still(status: ScheduleStatus, reason: ScheduleReason, message: str) -> ScheduleStep:
    return ScheduleStep(None, status, _condition(reason, message))


def _condition(reason: ScheduleReason, message: str) -> Condition:
    works = reason in (ScheduleReason.SCHEDULED, ScheduleReason.REPLAY_OPEN)
    return Condition(SCHEDULE_CONDITION, "True" if works else "False", reason, message)
