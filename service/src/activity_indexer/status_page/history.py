"""The last hour of one indexer, from samples of its own metrics. No I/O; the caller gives times and values."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeVar

from activity_indexer.telemetry.metrics.distribution import Distribution

SPAN: Final = 3600.0
"""Seconds that are kept."""
INTERVAL: Final = 10.0
"""Seconds between two samples."""

Key = TypeVar("Key")
Cause = tuple[str, str]
"""Stage and error of a dead letter."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The metrics at one time: counters since the start of the process, and gauges.

    `at` is in Unix seconds; `ages` counts by bucket, with `age_bounds` as the buckets' upper limits (seconds).
    """

    at: float
    settled: Mapping[str, float] = field(default_factory=dict)
    dead_letters: Mapping[Cause, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    lag: float = 0.0
    ages: Sequence[int] = ()
    age_bounds: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """What happened between two samples."""

    before: Sample
    after: Sample

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.after.at - self.before.at

    @property
    def settled(self) -> float:
        """Events that were settled."""
        return sum(self.after.settled.values()) - sum(self.before.settled.values())

    @property
    def rate(self) -> float:
        """Events settled in a second."""
        return self.settled / self.seconds if self.seconds > 0 else 0.0

    def dead_letters(self) -> dict[Cause, float]:
        """New dead letters, by cause."""
        return _increase(self.before.dead_letters, self.after.dead_letters)

    def stages(self) -> dict[str, float]:
        """Seconds spent, by stage."""
        return _increase(self.before.stages, self.after.stages)

    def age(self, share: float) -> float | None:
        """Age (seconds) below which this share of the events was when written; None when none was."""
        ages = Distribution(self.after.age_bounds)
        ages.counts = [after - before for after, before in zip(self.after.ages, self.before.ages, strict=True)]
        return ages.quantile(share) if sum(ages.counts) else None


class History:
    """Samples of the last `span` seconds, oldest first."""

    def __init__(self, span: float = SPAN) -> None:
        self._span = span
        self._samples: deque[Sample] = deque()

    def add(self, sample: Sample) -> None:
        """Keep a sample, and forget those that are older than the span before it."""
        self._samples.append(sample)
        while self._samples[0].at < sample.at - self._span:
            self._samples.popleft()

    def upto(self, sample: Sample) -> History:
        """The same history, with one more sample at its end."""
        longer = History(self._span)
        longer._samples = deque(self._samples)
        longer.add(sample)
        return longer

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def last(self) -> Sample:
        """The newest sample; an empty one when there is none."""
        return self._samples[-1] if self._samples else Sample(0.0)

    @property
    def first(self) -> Sample:
        """The oldest sample; an empty one when there is none."""
        return self._samples[0] if self._samples else Sample(0.0)

    def steps(self) -> Iterator[Step]:
        """What happened between each two samples."""
        return (Step(before, after) for before, after in pairwise(self._samples))

    def since(self, seconds: float) -> Step:
        """What happened in the last this many seconds, or since the oldest sample if that is younger."""
        last = self.last
        first = next((sample for sample in self._samples if sample.at >= last.at - seconds), last)
        return Step(first, last)

    def last_seen(self) -> dict[Cause, float]:
        """When a dead letter of each cause last came (Unix seconds, to a sample's exactness)."""
        return {cause: step.after.at for step in self.steps() for cause in step.dead_letters()}


def _increase(before: Mapping[Key, float], after: Mapping[Key, float]) -> dict[Key, float]:
    return {key: grown for key, value in after.items() if (grown := value - before.get(key, 0.0)) > 0}
