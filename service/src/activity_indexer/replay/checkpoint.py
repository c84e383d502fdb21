"""How far a replay is: kept in Kafka itself, with its read position, so that it goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from activity_common.replay_result import COUNTED, Counters
from activity_indexer.dead_letters.spans import Span, Spans
from activity_indexer.positions import Partition
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.ports import Commits, Groups, Letters, ReplayRefused

NONE: Final = Counters()


class _Kept(msgspec.Struct, frozen=True):
    """The metadata of a committed offset; `of` distinguishes replays, `at` is the beginning (milliseconds)."""

    v: int
    end: int
    read: int
    sent: int
    skipped: int
    parked: int
    stale: int
    refused: int
    of: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class PartitionCheckpoint:
    """Where a replay is in a partition: the next offset, the frozen end (exclusive), and what it has counted there."""

    offset: int
    end: int
    counters: Counters = NONE


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a replay is; `fingerprint` is that of its options, `begun` in milliseconds since the epoch."""

    fingerprint: str
    begun: int
    partitions: Mapping[Partition, PartitionCheckpoint]

    @property
    def counters(self) -> Counters:
        """Over all partitions."""
        return sum((each.counters for each in self.partitions.values()), NONE)

    @property
    def done(self) -> bool:
        """Whether nothing is left to read."""
        return all(each.offset >= each.end for each in self.partitions.values())

    @property
    def left(self) -> Spans:
        """What is still to be read."""
        return {place: Span(each.offset, each.end) for place, each in self.partitions.items()}

    def ends(self, topic: str) -> str:
        """The frozen ends as text: `partition:end`, with the topic before it where it is not this one."""
        return ",".join(
            f"{'' if place.topic == topic else f'{place.topic}/'}{place.partition}:{each.end}"
            for place, each in sorted(self.partitions.items(), key=lambda item: (item[0].topic != topic, item[0]))
        )

    def commits(self, places: Iterable[Partition]) -> Commits:
        """What is committed for these partitions: the offset, and compact JSON, far below the broker's 4 KiB."""
        found: dict[Partition, tuple[int, str]] = {}
        for place in places:
            each = self.partitions[place]
            kept = _Kept(v=1, end=each.end, **each.counters.as_json(), of=self.fingerprint, at=self.begun)
            found[place] = each.offset, msgspec.json.encode(kept).decode()
        return found


def checkpoint_in(committed: Commits) -> Checkpoint | None:
    """From committed offsets and their metadata; None when there are none. Raises ValueError when they are not ours."""
    partitions: dict[Partition, PartitionCheckpoint] = {}
    kept: _Kept | None = None
    for place, (offset, text) in committed.items():
        kept = msgspec.json.decode(text, type=_Kept)
        counters = Counters(*(getattr(kept, name) for name in COUNTED))
        partitions[place] = PartitionCheckpoint(offset, kept.end, counters)
    return Checkpoint(kept.of, kept.at, partitions) if kept else None


async def earlier_checkpoint(options: ReplayOptions, letters: Letters, groups: Groups) -> Checkpoint | None:
    """What an earlier run of this replay left, None when there was none. Raises ReplayRefused when it is not ours."""
    places = await letters.spans(options.sources)
    try:
        return checkpoint_in(await groups.committed(options.group, places))
    except ValueError as error:
        raise ReplayRefused(
            f"the group {options.group} has committed offsets that no replay wrote: give another --id ({error})"
        ) from error


async def first_checkpoint(options: ReplayOptions, letters: Letters, now: float) -> Checkpoint:
    """Of a replay that begins now; `now` in seconds since the epoch. Raises ReplayRefused when it cannot end there."""
    spans: Spans = await letters.spans(options.sources, options.selection)
    if options.up_to is not None:
        spans = _cut(spans, read_ends(options.up_to, options.dead_letter_topic))
    partitions = {place: PartitionCheckpoint(span.start, span.end) for place, span in spans.items()}
    return Checkpoint(options.fingerprint, int(now * 1000), partitions)


def _cut(spans: Spans, ends: Mapping[Partition, int]) -> Spans:
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


def check_same(earlier: Checkpoint, options: ReplayOptions) -> None:
    """A replay goes on as it was begun. Raises ReplayRefused."""
    if earlier.fingerprint != options.fingerprint:
        raise ReplayRefused(
            f"the replay {options.replay_id} was begun with another selection, correction or limit: "
            "go on with the same options, or begin a new one with another --id"
        )
    topic, ends = options.dead_letter_topic, {place: each.end for place, each in earlier.partitions.items()}
    if options.up_to is not None and read_ends(options.up_to, topic) != ends:
        raise ReplayRefused(
            f"the replay {options.replay_id} was begun up to {earlier.ends(topic)}, not {options.up_to}: "
            "omit --up-to to go on"
        )


def read_ends(text: str, topic: str) -> dict[Partition, int]:
    """The ends in such a text. Raises ValueError."""
    found: dict[Partition, int] = {}
    for part in text.split(","):
        place, _, end = part.strip().rpartition(":")
        named, slash, number = place.rpartition("/")
        if not all(each.isascii() and each.isdigit() and len(each) <= 18 for each in (number, end)):
            raise ValueError(f"expected partition:offset such as 0:123,1:99, got {part!r}")
        found[Partition(named if slash else topic, int(number))] = int(end)
    return found
