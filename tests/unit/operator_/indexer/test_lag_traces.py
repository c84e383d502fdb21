"""The policy Lag on loads that were recorded on a real topic (benchmarks/record_lag.py), played slowly."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from activity_indexer_operator.indexer.decide import decide
from activity_indexer_operator.indexer.lag_policy import LagState, Sample, step
from activity_indexer_operator.indexer.spec import Mode, Policy, Scaling

TRACES = sorted((Path(__file__).parents[4] / "benchmarks" / "traces").glob("*.json"))
STRETCH = 20
"""A recorded second is played as this many, so that the policy's windows of minutes matter."""
INTERVAL = 10
PARTITIONS, CAPACITY = 12, 100.0
CHANGES_MAX = 10
"""KEDA's formula makes up to 30 of one of them (benchmarks/lag_policy.py)."""
BEHIND_SECONDS, WORST_SECONDS = 30, 60
"""How far behind it may be at the end, and ever, in seconds of production."""
SCALING = Scaling(policy=Policy.LAG, min_replicas=1, max_replicas=64)


@dataclass
class Played:
    """What became of a trace: replicas after each look, and the lag there."""

    replicas: list[int] = field(default_factory=lambda: [2])
    lag: list[int] = field(default_factory=list)

    @property
    def changes(self) -> int:
        return sum(before != after for before, after in pairwise(self.replicas))


def rates(path: Path) -> list[float]:
    """Events/s at each look of the policy."""
    trace = json.loads(path.read_text("utf-8"))
    seconds, published = trace["seconds"], trace["published"]
    found = []
    for at in range(0, int(seconds[-1]) * STRETCH, INTERVAL):
        after = min(max(1, bisect_right(seconds, at / STRETCH)), len(seconds) - 1)
        found.append((published[after] - published[after - 1]) / (seconds[after] - seconds[after - 1]))
    return found


def play(path: Path) -> Played:
    played, state = Played(), LagState()
    produced = settled = 0.0
    for look, rate in enumerate(rates(path), 1):
        replicas = played.replicas[-1]
        produced += INTERVAL * rate
        held = -(-PARTITIONS // replicas)
        settled = min(produced, settled + INTERVAL * CAPACITY * PARTITIONS / held)
        played.lag.append(int(produced) - int(settled))
        sample = Sample(look * INTERVAL, int(produced), int(settled), played.lag[-1], replicas, replicas, PARTITIONS)
        state, _, need = step(state, sample, SCALING)
        decision = decide(Mode.ACTIVE, SCALING, PARTITIONS, replicas, need)
        played.replicas.append(replicas if decision.scale_to is None else decision.scale_to)
    return played


@pytest.fixture(params=TRACES, ids=lambda path: path.stem)
def trace(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_there_are_traces() -> None:
    assert {path.stem for path in TRACES} == {"burst", "calm", "night-day", "on-off", "ramp"}


def test_what_was_recorded_is_what_a_group_did(trace: Path) -> None:
    seen = json.loads(trace.read_text("utf-8"))
    assert all(
        before <= after for name in ("seconds", "published", "committed") for before, after in pairwise(seen[name])
    )
    assert all(c <= p for c, p in zip(seen["committed"], seen["published"], strict=True))


def test_replicas_stay_between_the_least_and_the_partitions(trace: Path) -> None:
    assert all(1 <= replicas <= PARTITIONS for replicas in play(trace).replicas)


def test_only_numbers_that_make_a_difference_are_taken(trace: Path) -> None:
    assert all(-(-PARTITIONS // -(-PARTITIONS // n)) == n for n in play(trace).replicas)


def test_the_group_is_changed_seldom(trace: Path) -> None:
    assert play(trace).changes <= CHANGES_MAX


def test_what_waits_is_worked_off(trace: Path) -> None:
    played, last = play(trace), rates(trace)[-6:]
    allowed = BEHIND_SECONDS * max(*last, CAPACITY)
    assert played.lag[-1] <= allowed
    assert max(played.lag) <= WORST_SECONDS * max(rates(trace))
