"""What a replay tells machines: plan, progress and result as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from activity_common.replay_result import MAX_RESULT, Cause, Counters, Outcome, ReplayResult, Report
from activity_indexer.replay.plan import Plan


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended; `matched` and `causes` are the plan's, all else is what was done (of a dry run: would be)."""

    outcome: Outcome
    replay_id: str
    message: str
    dry_run: bool = False
    plan: Plan | None = None
    counters: Counters | None = None
    report: Report | None = None


def plan_json(plan: Plan, replay_id: str) -> dict[str, Any]:
    """The plan's line."""
    return {
        "kind": "plan",
        "replay": replay_id,
        "upTo": plan.up_to,
        "matched": plan.counters.matched,
        "sending": plan.counters.sent,
        **_counted(plan.counters, ("stale", "parked", "skipped", "refused")),
        "failing": plan.failing,
        "old": plan.old,
        "causes": msgspec.to_builtins(list(plan.told_causes())),
        "refusals": plan.refusals,
        "blind": plan.blind,
    }


def progress_json(counters: Counters, passed: int, total: int) -> dict[str, Any]:
    """A line of progress; `passed` and `total` are offsets."""
    return {
        "kind": "progress",
        "passed": passed,
        "total": total,
        **_counted(counters, ("read", "sent", "stale", "parked", "skipped", "refused")),
    }


def result_json(result: Result) -> dict[str, Any]:
    """The result, in MAX_RESULT bytes at most: what is rare is left off first."""
    causes = tuple(result.plan.told_causes()) if result.plan else ()
    errors = result.report.most_common_errors if result.report else []
    while True:
        told: dict[str, Any] = msgspec.to_builtins(_told(result, causes, dict(errors)))
        if len(json.dumps(told)) <= MAX_RESULT or not (causes or errors):
            return told
        causes, errors = causes[: len(causes) * 3 // 4], errors[: len(errors) * 3 // 4]


def _told(result: Result, causes: tuple[Cause, ...], errors: dict[str, int]) -> ReplayResult:
    counters = result.counters or Counters()
    return ReplayResult(
        kind="result",
        outcome=result.outcome,
        replay=result.replay_id,
        dry_run=result.dry_run,
        up_to=result.plan.up_to if result.plan else "",
        matched=max(counters.matched, result.plan.counters.matched if result.plan else 0),
        **_counted(counters, ("sent", "stale", "parked", "skipped", "refused")),
        causes=causes,
        report=replace(result.report, errors=errors) if result.report else None,
        message=result.message[:1000],
    )


def _counted(counters: Counters, names: tuple[str, ...]) -> dict[str, int]:
    return {name: getattr(counters, name) for name in names}
