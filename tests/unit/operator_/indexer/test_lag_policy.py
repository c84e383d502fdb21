"""The policy Lag, on loads that are played through: a group of replicas with a capacity, and a clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from activity_indexer_operator.indexer.decide import decide
from activity_indexer_operator.indexer.lag_policy import LagReason, LagState, Need, Sample, fewer, step
from activity_indexer_operator.indexer.spec import LagPolicy, Mode, Policy, Scaling

SCALING = Scaling(policy=Policy.LAG, min_replicas=1, max_replicas=64)
INTERVAL = 10.0


@dataclass
class Play:
    """A topic that is published to and an indexer that works off what it can."""

    partitions: int = 12
    replicas: int = 1
    capacity: float = 100.0
    scaling: Scaling = SCALING
    at: float = 0.0
    produced: float = 0.0
    settled: float = 0.0
    state: LagState = field(default_factory=LagState)
    history: list[int] = field(default_factory=list)
    need: Need | None = None

    def run(self, seconds: float, rate: float | Callable[[float], float]) -> Play:
        """This much time, with this many events per second."""
        for _ in range(int(seconds / INTERVAL)):
            self.at += INTERVAL
            self.produced += INTERVAL * (rate(self.at) if callable(rate) else rate)
            held = -(-self.partitions // self.replicas) if self.replicas else 0
            speed = min(self.replicas * self.capacity, self.capacity * self.partitions / held) if held else 0.0
            self.settled = min(self.produced, self.settled + INTERVAL * speed)
            self.look()
        return self

    def look(self) -> None:
        lag = int(self.produced) - int(self.settled)
        sample = Sample(
            self.at, int(self.produced), int(self.settled), lag, self.replicas, self.replicas, self.partitions
        )
        self.state, _, self.need = step(self.state, sample, self.scaling)
        decision = decide(Mode.ACTIVE, self.scaling, self.partitions, self.replicas, self.need)
        self.replicas = self.replicas if decision.scale_to is None else decision.scale_to
        self.history.append(self.replicas)

    @property
    def lag(self) -> int:
        return int(self.produced) - int(self.settled)


def changes(history: list[int]) -> int:
    return sum(before != after for before, after in pairwise(history))


def test_a_load_beyond_one_replica_is_worked_off_by_as_many_as_it_takes() -> None:
    play = Play().run(600, 350)
    assert play.lag < 350 * 5
    assert max(play.history) <= 12
    assert play.history[-1] == 6, "350 / (0.85 * 100) = 4.1 replicas: three partitions each make 4, two make 6"


def test_a_constant_load_settles_on_one_number() -> None:
    play = Play().run(900, 350)
    settled = play.history[-20:]
    assert changes(settled) == 0, settled


def test_when_the_load_falls_replicas_go_after_the_window_and_not_before() -> None:
    play = Play().run(600, 350)
    before = play.replicas
    play.run(280, 60)
    assert play.replicas == before
    play.run(400, 60)
    assert play.replicas == 1


def test_a_short_dip_moves_nothing() -> None:
    play = Play().run(600, 350)
    before = play.replicas
    play.run(120, 10).run(300, 350)
    assert set(play.history[-42:]) == {before}


def test_the_bound_is_reached_exactly_and_never_passed() -> None:
    play = Play(partitions=7, capacity=10, scaling=replace(SCALING, max_replicas=5)).run(600, 1000)
    assert play.replicas == 5
    assert Play(partitions=7, capacity=10).run(600, 1000).replicas == 7


def test_an_indexer_that_settles_nothing_is_not_given_more_replicas() -> None:
    play = Play(replicas=3, capacity=0.0).run(600, 200)
    assert set(play.history) == {3}
    assert play.need is not None
    assert play.need.reason is LagReason.STALLED


def test_without_load_there_is_the_minimum() -> None:
    assert Play(replicas=6).run(900, 0).replicas == 1
    assert Play(replicas=6, scaling=replace(SCALING, min_replicas=0)).run(900, 0).replicas == 0


def test_events_wake_an_indexer_that_was_scaled_to_zero() -> None:
    play = Play(replicas=0, scaling=replace(SCALING, min_replicas=0))
    assert play.run(100, 0).replicas == 0
    assert play.run(100, 5).replicas >= 1


def test_replicas_that_keep_up_at_unknown_capacity_are_tried_with_fewer_until_they_do_not() -> None:
    play = Play(replicas=12, capacity=100).run(3600, 150)
    assert play.replicas < 12
    assert play.lag < 150 * 120
    assert changes(play.history[-60:]) <= 2


def test_a_capacity_that_is_given_is_believed_until_it_is_measured() -> None:
    given = replace(SCALING, lag=LagPolicy(capacity_per_replica=50))
    assert Play(replicas=6, scaling=given).run(900, 250).replicas == 6
    assert Play(replicas=6).run(900, 250).replicas < 6


def test_nothing_is_scaled_before_rates_are_known() -> None:
    play = Play(replicas=4)
    play.run(10, 1000)
    assert play.need is not None
    assert (play.need.replicas, play.need.reason) == (None, LagReason.MEASURING)


def test_a_topic_created_again_begins_a_new_measurement() -> None:
    play = Play().run(300, 350)
    play.produced = play.settled = 0.0
    play.at += INTERVAL
    play.look()
    assert play.need is not None
    assert play.need.replicas is None


@pytest.mark.parametrize(
    ("count", "partitions", "expected"), [(12, 12, 6), (6, 12, 4), (4, 12, 3), (2, 12, 1), (1, 12, 1)]
)
def test_the_next_lower_count_is_one_that_changes_what_a_replica_holds(
    count: int, partitions: int, expected: int
) -> None:
    assert fewer(count, partitions) == expected


@settings(max_examples=40)
@given(st.integers(1, 100), st.integers(1, 20_000), st.floats(1, 500))
def test_any_load_stays_within_bounds_and_moves_by_counts_that_matter(
    partitions: int, rate: int, capacity: float
) -> None:
    play = Play(partitions=partitions, capacity=capacity, scaling=replace(SCALING, max_replicas=1000)).run(400, rate)
    assert all(1 <= replicas <= partitions for replicas in play.history)
    assert all(-(-partitions // -(-partitions // n)) == n for n in play.history)
