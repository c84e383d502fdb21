"""What the Jobs of a replay ended with: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from activity_common.exit_codes import Exit
from activity_common.replay_result import COUNTED, Counters, ReplayResult
from activity_indexer_operator.jobs.view import Ended, JobState, JobView
from activity_indexer_operator.replay.model import Phase, Plan
from activity_indexer_operator.replay.reasons import Reason

CAUSES_SHOWN: Final = 20
TEXT_SHOWN: Final = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a Job ended; `result` is None where its pod left none."""

    phase: Phase
    reason: Reason
    message: str
    result: ReplayResult | None


def outcome_of(job: JobView) -> Outcome:
    """The outcome of a Job that is over."""
    result = parse_result(job.ended)
    if job.state is JobState.COMPLETE:
        return Outcome("Succeeded", Reason.COMPLETED, result.message if result else "", result)
    code = job.ended.exit_code if job.ended else None
    told = _told(job, result)
    if code == Exit.NOTHING_TO_DO:
        return Outcome("Nothing", Reason.NOTHING_TO_REPLAY, told, result)
    if code == Exit.REFUSED:
        return Outcome("Refused", Reason.REFUSED, told, result)
    if code == Exit.WRONG_USAGE:
        return Outcome("Failed", Reason.WRONG_SETTINGS, told, result)
    if job.reason == "DeadlineExceeded":
        return Outcome("Failed", Reason.DEADLINE_EXCEEDED, told, result)
    return Outcome("Failed", Reason.RETRIES_EXHAUSTED, told, result)


def parse_result(ended: Ended | None) -> ReplayResult | None:
    """The result object among a pod's last words; None where there is none."""
    for line in reversed(ended.message.splitlines() if ended else ()):
        try:
            result = msgspec.json.decode(line, type=ReplayResult)
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
        if result.kind == "result":
            return result
    return None


def _told(job: JobView, result: ReplayResult | None) -> str:
    """What a person needs to know of a failure."""
    if result and result.message:
        return result.message
    if job.ended is None:
        return f"Job {job.name} failed ({job.reason}), and its pod is gone"
    words = " ".join(job.ended.message.split())
    ended = f"the pod of Job {job.name} ended with code {job.ended.exit_code} ({job.ended.reason})"
    return f"{ended}: …{words[-TEXT_SHOWN:]}" if len(words) > TEXT_SHOWN else f"{ended}: {words}".rstrip(": ")


def plan_of(result: ReplayResult) -> Plan:
    """What a dry run found."""
    return Plan(result.matched, result.up_to, result.stale, result.parked, result.refused, result.causes[:CAUSES_SHOWN])


def summed(commits: list[dict[str, Any]]) -> Counters:
    """The progress behind the metadata of a replay's commits, one per partition."""
    return Counters(**{name: sum(int(commit.get(name, 0)) for commit in commits) for name in COUNTED})
