"""What became of the events that a replay sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from activity_common.dead_letter_headers import REPLAY_ID
from activity_common.replay_result import Report
from activity_indexer.dead_letters.document_state import Standing, standing
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.spans import Spans
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.ports import Partition
from activity_indexer.replay.identity import identity, original_position
from activity_indexer.replay.ports import Documents, Groups, Letters
from activity_indexer.replay.settled import Settled

PAUSE: Final = 0.5
"""Seconds between two looks at the group."""

MAX_ERRORS: Final = 100
"""Errors that are told apart."""

OTHERS: Final = "others"


async def wait_until_passed(
    groups: Groups, group: str, ends: Mapping[Partition, int], patience: float, tell: Callable[[int], None]
) -> int:
    """Wait until the group has committed these ends; returns how many offsets are left when it does not move any more.

    `patience` is in seconds without a move, `tell` gets what is left. Raises Unavailable or Refused.
    """
    moved, before = time.monotonic(), -1
    while True:
        committed = await groups.committed(group, ends)
        left = sum(max(0, end - committed.get(place, (0, ""))[0]) for place, end in ends.items())
        tell(left)
        if not left:
            return 0
        if left != before:
            moved, before = time.monotonic(), left
        elif time.monotonic() - moved > patience:
            return left
        await asyncio.sleep(PAUSE)


async def report(
    replay_id: str, sent: int, letters: Letters, documents: Documents, written: Spans, since: Spans
) -> Report:
    """Read what was sent (`written`) and what came to the dead letters after that (`since`), as a stream.

    Raises Unavailable or Refused when Kafka does not answer; without Elasticsearch, what is not back is unknown.
    """
    found = Report()
    back = await _back(replay_id, letters, since, found)
    async for batch in letters.read(written):
        ours = [letter for letter in batch if letter.header(REPLAY_ID) == replay_id]
        await _classify([letter for letter in ours if _place(letter) not in back], documents, found)
        found.dead_lettered += sum(_place(letter) in back for letter in ours)
    known = found.indexed + found.stale + found.dead_lettered
    found.unknown = max(0, sent - known)
    return found


async def _back(replay_id: str, letters: Letters, since: Spans, found: Report) -> Settled:
    """Where those lay that are dead letters again."""
    back = Settled()
    async for batch in letters.read(since):
        for letter in batch:
            if letter.replay_id == replay_id:
                back.add(f"{letter.original_topic}:{letter.original_partition}:{letter.original_offset}")
                known = letter.error in found.errors or len(found.errors) < MAX_ERRORS
                error = letter.error if known else OTHERS
                found.errors[error] = found.errors.get(error, 0) + 1
    return back


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


def _place(letter: StoredDeadLetter) -> str:
    return f"{letter.topic}:{letter.partition}:{letter.offset}"
