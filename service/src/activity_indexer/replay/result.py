"""What a replay tells machines: plan, progress and result as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from activity_indexer.replay.plan import Plan
from activity_indexer.replay.progress import Counters
from activity_indexer.replay.report import Report

MAX_RESULT: Final = 4000
"""Bytes of a result: Kubernetes keeps no more of a container's last words."""

Outcome = Literal["done", "nothing", "refused", "interrupted", "failed"]


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
        "causes": list(plan.told_causes()),
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
    causes = list(result.plan.told_causes()) if result.plan else []
    errors = result.report.errors.most_common() if result.report else []
    while True:
        told = _told(result, causes, dict(errors))
        if len(json.dumps(told)) <= MAX_RESULT or not (causes or errors):
            return told
        causes, errors = causes[: len(causes) * 3 // 4], errors[: len(errors) * 3 // 4]


def _told(result: Result, causes: list[dict[str, Any]], errors: Mapping[str, int]) -> dict[str, Any]:
    counters = result.counters or Counters()
    return {
        "kind": "result",
        "outcome": result.outcome,
        "replay": result.replay_id,
        "dryRun": result.dry_run,
        "upTo": result.plan.up_to if result.plan else "",
        "matched": max(counters.matched, result.plan.counters.matched if result.plan else 0),
        **_counted(counters, ("sent", "stale", "parked", "skipped", "refused")),
        "causes": causes,
        "report": _reported(result.report, errors),
        "message": result.message[:1000],
    }


def _reported(report: Report | None, errors: Mapping[str, int]) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "indexed": report.indexed,
        "stale": report.stale,
        "deadLettered": report.dead_lettered,
        "unknown": report.unknown,
        "errors": dict(errors),
    }


def _counted(counters: Counters, names: tuple[str, ...]) -> dict[str, int]:
    return {name: getattr(counters, name) for name in names}
