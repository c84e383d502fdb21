"""What a replay would do: counted, not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from activity_common.replay_result import Cause, Counters
from activity_indexer.event import version_microseconds
from activity_indexer.ports import Partition
from activity_indexer.replay.decide import Decision, Fate
from activity_indexer.replay.progress import Position

MAX_CAUSES: Final = 500
"""Causes that are told apart; whoever writes headers can think of any number."""

MAX_REFUSALS: Final = 20
"""Refused dead letters that are told one by one."""

OTHERS: Final = "others"


@dataclass(slots=True)
class Plan:
    """Numbers of what is still to do.

    `failing` of those to be sent would fail again as they are; `old` ones are from before `horizon` (microseconds since
    the epoch): tombstones of that time may be purged. `invalid` ones stay so in spite of the correction. `blind` tells
    why nobody knows what is stale. `example` is the first that matches.
    """

    horizon: int
    up_to: str = ""
    counters: Counters = field(default_factory=Counters)
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)
    failing: int = 0
    invalid: int = 0
    old: int = 0
    blind: str = ""
    example: Decision | None = None

    def add(self, decisions: Iterable[Decision]) -> None:
        """Count more."""
        tally: Counter[str] = Counter()
        for decision in decisions:
            tally[decision.fate.value] += 1
            if decision.fate is not Fate.SKIPPED:
                self._cause(decision)
                self._detail(decision)
        self.counters += Counters(read=tally.total(), **tally)

    def _cause(self, decision: Decision) -> None:
        cause = decision.letter.stage, decision.letter.error
        self.causes[cause if cause in self.causes or len(self.causes) < MAX_CAUSES else (OTHERS, OTHERS)] += 1

    def _detail(self, decision: Decision) -> None:
        self.example = self.example or decision
        if decision.fate is Fate.REFUSED:
            self.invalid += bool(decision.fails)
            if len(self.refusals) < MAX_REFUSALS:
                self.refusals.append(f"{decision.letter.place} {decision.reason}")
        elif decision.fate is Fate.SENT:
            self.failing += bool(decision.fails)
            self.old += _time(decision) < self.horizon

    def told_causes(self) -> Iterator[Cause]:
        """The causes, the most frequent first."""
        for (stage, error), number in self.causes.most_common():
            yield Cause(stage, error, number)


def _time(decision: Decision) -> int:
    """When the event was, or else when it failed; microseconds."""
    failed = decision.letter.failed_at
    return min(failed, version_microseconds(decision.event.version)) if decision.event else failed


def written_ends(positions: Mapping[Partition, Position], topic: str) -> str:
    """The frozen ends as text: `partition:end`, with the topic before it where it is not the dead-letter topic."""
    return ",".join(
        f"{'' if partition.topic == topic else f'{partition.topic}/'}{partition.partition}:{position.end}"
        for partition, position in sorted(positions.items(), key=lambda item: (item[0].topic != topic, item[0]))
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
