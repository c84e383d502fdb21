"""Where a replay begins and ends: fixed when it is begun for the first time, and kept with its read position."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from activity_indexer.dead_letters.spans import Span
from activity_indexer.ports import Partition
from activity_indexer.replay.decide import Wanted
from activity_indexer.replay.errors import ReplayRefused
from activity_indexer.replay.plan import read_ends, written_ends
from activity_indexer.replay.ports import Groups, Letters
from activity_indexer.replay.progress import Position, Standing, standing


def fingerprint(wanted: Wanted) -> str:
    """16 hexadecimal digits, the same for replays that do the same."""
    parts = [
        wanted.selection.fingerprint,
        wanted.correction.fingerprint if wanted.correction else None,
        *(wanted.topic, wanted.max_replays, wanted.include_parked, wanted.include_stale, wanted.max_sent),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


async def begun(letters: Letters, groups: Groups, group: str, topics: list[str]) -> Standing | None:
    """What an earlier run of this replay left, None when there was none. Raises ReplayRefused when it is not ours."""
    places = await letters.spans(topics)
    try:
        return standing(await groups.committed(group, places))
    except ValueError as error:
        raise ReplayRefused(
            f"the group {group} has committed offsets that no replay wrote: give another --id ({error})"
        ) from error


async def fresh(letters: Letters, wanted: Wanted, topics: list[str], up_to: str | None, now: float) -> Standing:
    """A replay that begins now; `now` in seconds since the epoch. Raises ReplayRefused when it cannot end there."""
    spans = await letters.spans(topics, wanted.selection)
    if up_to is not None:
        spans = _cut(spans, read_ends(up_to, topics[0]))
    positions = {place: Position(span.start, span.end) for place, span in spans.items()}
    return Standing(fingerprint(wanted), int(now * 1000), positions)


def _cut(spans: Mapping[Partition, Span], ends: Mapping[Partition, int]) -> dict[Partition, Span]:
    found: dict[Partition, Span] = {}
    for place, end in ends.items():
        span = spans.get(place)
        if span is None or end > span.end:
            there = "nothing" if span is None else f"{span.end}"
            raise ReplayRefused(
                f"--up-to names {place.topic} {place.partition}:{end}, and what matches ends at {there}: "
                "take the ends that a plan of the same selection printed"
            )
        found[place] = Span(min(span.start, end), end)
    return found


def check_same(earlier: Standing, wanted: Wanted, topic: str, up_to: str | None) -> None:
    """A replay goes on as it was begun. Raises ReplayRefused."""
    if earlier.fingerprint != fingerprint(wanted):
        raise ReplayRefused(
            f"the replay {wanted.replay_id} was begun with another selection, correction or limit: "
            "go on with the same options, or begin a new one with another --id"
        )
    ends = {place: position.end for place, position in earlier.positions.items()}
    if up_to is not None and read_ends(up_to, topic) != ends:
        raise ReplayRefused(
            f"the replay {wanted.replay_id} was begun up to {written_ends(earlier.positions, topic)}, not {up_to}: "
            "leave --up-to away to go on"
        )
