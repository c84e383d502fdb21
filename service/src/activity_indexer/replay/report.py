"""How a replay ended, and what became of the events that it sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from activity_common.replay_result import MAX_RESULT, Cause, Counters, Outcome, ReplayResult, Report
from activity_indexer.dead_letters.document_state import Standing, identity, standing
from activity_indexer.dead_letters.earlier import original_position
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.spans import Spans
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.positions import Partition
from activity_indexer.replay.checkpoint import NONE
from activity_indexer.replay.plan import OTHERS, Plan, Settled, count
from activity_indexer.replay.ports import Documents, Groups, Letters

PAUSE: Final = 0.5
"""Seconds between two looks at the group."""

MAX_ERRORS: Final = 100
"""Errors that are distinguished."""


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended; `matched` and `causes` are the plan's, all else is what was done (of a dry run: would be)."""

    outcome: Outcome
    replay_id: str
    message: str
    dry_run: bool = False
    plan: Plan | None = None
    counters: Counters = NONE
    report: Report | None = None

    def as_json(self) -> dict[str, Any]:
        """The result, in MAX_RESULT bytes at most: what is rare is left off first."""
        causes = self.plan.most_common_causes() if self.plan else []
        errors = self.report.most_common_errors if self.report else []
        while True:
            result: dict[str, Any] = msgspec.to_builtins(self._shared(causes, dict(errors)))
            if len(json.dumps(result)) <= MAX_RESULT or not (causes or errors):
                return result
            causes, errors = causes[: len(causes) * 3 // 4], errors[: len(errors) * 3 // 4]

    def _shared(self, causes: Sequence[Cause], errors: dict[str, int]) -> ReplayResult:
        planned = self.plan.counters if self.plan else NONE
        return ReplayResult(
            kind="result",
            outcome=self.outcome,
            replay=self.replay_id,
            dry_run=self.dry_run,
            up_to=self.plan.up_to if self.plan else "",
            matched=max(self.counters.matched, planned.matched),
            **self.counters.as_json(without="read"),
            causes=tuple(causes),
            report=replace(self.report, errors=errors) if self.report else None,
            message=self.message[:1000],
        )


async def wait_until_passed(
    groups: Groups, group: str, ends: Mapping[Partition, int], *, patience: float, notify: Callable[[int], None]
) -> int:
    """Wait until the group has committed these ends; returns how many offsets are left when it makes no progress.

    `patience` is in seconds without progress, `notify` gets what is left. Raises Unavailable or Refused.
    """
    moved, before = time.monotonic(), -1
    while True:
        committed = await groups.committed(group, ends)
        left = sum(max(0, end - committed.get(place, (0, ""))[0]) for place, end in ends.items())
        notify(left)
        if not left:
            return 0
        if left != before:
            moved, before = time.monotonic(), left
        elif time.monotonic() - moved > patience:
            return left
        await asyncio.sleep(PAUSE)


async def report_on(
    replay_id: str, sent: int, *, letters: Letters, documents: Documents, written: Spans, since: Spans
) -> Report:
    """Read what was sent (`written`) and what came to the dead letters after that (`since`), as a stream.

    Raises Unavailable or Refused when Kafka does not answer; without Elasticsearch, what is not back is unknown.
    """
    found, back = Report(), Settled()
    async for batch in letters.read(since):
        for letter in batch:
            if letter.replay_id == replay_id:
                back.add(f"{letter.original_topic}:{letter.original_partition}:{letter.original_offset}")
                count(found.errors, letter.error, MAX_ERRORS, OTHERS)
    async for batch in letters.read(written):
        ours = [letter for letter in batch if letter.replay_id == replay_id]
        others = [letter for letter in ours if f"{letter.topic}:{letter.place}" not in back]
        found.dead_lettered += len(ours) - len(others)
        await _classify(others, documents, found)
    found.unknown = max(0, sent - found.indexed - found.stale - found.dead_lettered)
    return found


async def _classify(sent: Sequence[StoredDeadLetter], documents: Documents, found: Report) -> None:
    events = [event for letter in sent if (event := identity(letter.facts, original_position(letter)))]
    try:
        states = await documents.states(sorted({event.identifier for event in events}))
    except (Unavailable, Refused):
        return
    for event in events:
        beside = standing(event.version, event.order, states.get(event.identifier))
        found.indexed += beside is Standing.SAME
        found.stale += beside is Standing.NEWER
