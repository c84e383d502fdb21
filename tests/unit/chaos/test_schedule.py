"""A seed stands for one plan, the same everywhere, and plans are what they say."""

from itertools import chain, combinations, pairwise

import pytest
from chaos.faults import FAULTS
from chaos.schedule import MOST, plan, plan_of

SEEDS = range(200)
DURATION = 25.0


@pytest.mark.parametrize("seed", [0, 12, 77])
def test_a_seed_is_one_plan(seed: int) -> None:
    assert plan(seed, DURATION) == plan(seed, DURATION)


def test_other_seeds_are_other_plans() -> None:
    assert len({plan(seed, DURATION).steps for seed in SEEDS}) == len(SEEDS)


def test_the_first_seeds_have_one_fault_each_and_all_faults_have_one() -> None:
    alone = [set(plan(seed, DURATION).names) for seed in range(len(FAULTS))]
    assert alone == [{fault.name} for fault in FAULTS]


def test_later_seeds_mix_faults_that_overlap() -> None:
    mixtures = [plan(seed, DURATION).steps for seed in SEEDS if seed >= len(FAULTS)]
    assert all(1 <= len(steps) <= MOST for steps in mixtures)
    assert any(one.ends > other.begins for steps in mixtures for one, other in pairwise(steps))


def test_two_faults_at_a_time_never_touch_the_same_thing() -> None:
    for seed in SEEDS:
        for one, other in combinations(plan(seed, DURATION).steps, 2):
            assert one.fault.touches != other.fault.touches or other.begins >= one.ends


def test_faults_begin_within_the_load_and_last_as_long_as_they_should() -> None:
    for step in chain.from_iterable(plan(seed, DURATION).steps for seed in SEEDS):
        least, most = step.fault.lasts
        assert 0 < step.begins < DURATION
        assert least - 0.01 <= step.lasts <= most + 0.01


def test_every_plan_has_two_to_four_indexers() -> None:
    assert {plan(seed, DURATION).indexers for seed in SEEDS} == {2, 3, 4}


def test_a_plan_can_be_asked_for_by_names() -> None:
    assert set(plan_of(["redis killed", "broker paused"], 1, DURATION).names) == {"redis killed", "broker paused"}
