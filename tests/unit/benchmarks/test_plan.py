"""What is measured, and what a part of it is called."""

import pytest

from bench import plan
from bench.plan import FULL, QUICK, Case, Load


def names(cases: list[Case]) -> set[str]:
    return {case.name for case in cases}


def test_everything_is_measured_when_nothing_is_named():
    cases = list(plan.cases(FULL))
    assert plan.chosen(cases, []) == cases


def test_a_part_is_all_of_its_candidates():
    chosen = plan.chosen(list(plan.cases(FULL)), ["blackhole"])
    assert names(chosen) == set(plan.BLACKHOLE)


def test_a_candidate_is_all_of_its_parts():
    chosen = plan.chosen(list(plan.cases(FULL)), ["naive"])
    assert {case.part for case in chosen} == {"blackhole", "elasticsearch"}


def test_parts_and_candidates_narrow_each_other():
    chosen = plan.chosen(list(plan.cases(FULL)), ["blackhole", "indexer*", "franz"])
    assert [(case.part, case.name) for case in chosen] == [
        ("blackhole", "indexer"),
        ("blackhole", "indexer-1000"),
        ("blackhole", "franz"),
    ]


def test_a_name_that_fits_nothing_is_refused_with_the_names_that_do():
    with pytest.raises(ValueError, match=r"'growth-mood'.*growth-batch.*prototype"):
        plan.chosen(list(plan.cases(FULL)), ["growth-mood"])


@pytest.mark.parametrize("size", [QUICK, FULL])
def test_every_case_has_a_name_of_its_own_and_something_left_to_measure(size):
    cases = list(plan.cases(size))
    assert len({(case.part, case.name) for case in cases}) == len(cases)
    assert all(case.warm < case.load.count for case in cases)


def test_topics_of_large_events_stay_small():
    large = [case for case in plan.cases(FULL) if case.part == "growth-size" and case.x]
    assert all(case.load.count * (case.x or 0) <= plan.BYTES for case in large)
    assert max(case.x or 0 for case in large) == 65_536


def test_cases_of_the_same_events_share_a_topic():
    loads = {case.load for case in plan.cases(FULL) if case.part == "growth-batch"}
    assert loads == {Load(FULL.growth)}


def test_rounds_can_be_chosen():
    assert (plan.with_rounds(QUICK, 7).rounds, plan.with_rounds(QUICK, 7).growth_rounds) == (7, 7)
