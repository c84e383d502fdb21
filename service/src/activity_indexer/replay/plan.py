"""What a replay would do: counted, not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from activity_common.dead_letter_headers import REPLAY_FROM, REPLAY_PARKED_FROM, REPLAY_PREFIX
from activity_common.replay_result import Cause, Counters
from activity_indexer.dead_letters.spans import Notify, Spans
from activity_indexer.event import version_microseconds
from activity_indexer.replay.decide import Decision, Fate
from activity_indexer.replay.ports import Letters

MAX_CAUSES: Final = 500
"""Causes that are distinguished; headers may name any number."""

MAX_REFUSALS: Final = 20
"""Refused dead letters that are reported one by one."""

OTHERS: Final = "others"
Word = TypeVar("Word", bound=Hashable)


@dataclass(slots=True)
class Plan:
    """Numbers of what is still to do.

    `failing` of those to be sent would fail again as they are; `old` ones are from before `horizon` (microseconds since
    the epoch): tombstones of that time may be purged. `invalid` ones stay so in spite of the correction. `blind` says
    why it is unknown what is stale. `example` is the first that matches.
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
            fate, letter = decision.fate, decision.letter
            tally[fate] += 1
            if fate is Fate.SKIPPED:
                continue
            self.example = self.example or decision
            count(self.causes, (letter.stage, letter.error), MAX_CAUSES, (OTHERS, OTHERS))
            if fate is Fate.SENT:
                self.failing += bool(decision.fails)
                moment = letter.failed_at
                if decision.event:
                    moment = min(moment, version_microseconds(decision.event.version))
                self.old += moment < self.horizon
            elif fate is Fate.REFUSED:
                self.invalid += bool(decision.fails)
                if len(self.refusals) < MAX_REFUSALS:
                    self.refusals.append(f"{letter.place} {decision.reason}")
        self.counters += Counters(read=tally.total(), **tally)

    def most_common_causes(self) -> list[Cause]:
        """The causes, the most frequent first."""
        return [Cause(stage, error, number) for (stage, error), number in self.causes.most_common()]

    def as_json(self) -> dict[str, Any]:
        """The plan for programs."""
        counted = self.counters.as_json()
        return {
            "upTo": self.up_to,
            "matched": self.counters.matched,
            "sending": counted.pop("sent"),
            **{name: counted[name] for name in ("stale", "parked", "skipped", "refused")},
            "failing": self.failing,
            "old": self.old,
            "causes": msgspec.to_builtins(self.most_common_causes()),
            "refusals": self.refusals,
            "blind": self.blind,
        }


def count(counter: MutableMapping[Word, int], word: Word, most: int, others: Word) -> None:
    """Count one more; of words beyond the first `most`, all together."""
    counted = word if word in counter or len(counter) < most else others
    counter[counted] = counter.get(counted, 0) + 1


class Settled:
    """A set of places (`records.lies_at`) in 8 bytes each and the set's own."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, place: str) -> None:
        """Remember a place."""
        self._hashes.add(hash(place))

    def __contains__(self, place: object) -> bool:
        return bool(self._hashes) and hash(place) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


async def find_settled(letters: Letters, spans: Spans, notify: Notify | None = None) -> Settled:
    """The dead letters whose copies count: what a replay sent and came back, and what was parked.

    Those are the places that later dead letters in these spans name as theirs. Raises Unavailable or Refused.
    """
    found = Settled()
    async for batch in letters.read(spans, notify, REPLAY_PREFIX.encode()):
        for letter in batch:
            for name, value in letter.headers:
                if value and name in (REPLAY_FROM, REPLAY_PARKED_FROM):
                    found.add(value.decode(errors="replace"))
    return found
