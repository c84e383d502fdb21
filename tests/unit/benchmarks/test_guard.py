"""The guard of the hot path's cost, and that it can fail."""

import itertools

import pytest

from bench import guard
from bench.guard import Baseline

BASELINE = Baseline(guard.interpreter(), "any", {"small": 4.0, "large": 2.0}, {"small": 0.03, "large": 0.02})


def test_an_event_costs_no_more_than_it_did():
    baseline = guard.load()
    if reason := guard.comparable(baseline):
        pytest.skip(reason)
    wrong = guard.check(baseline, (guard.in_a_process() for _ in range(guard.TRIES)))
    assert not wrong, wrong


def test_work_that_is_added_is_found():
    baseline = guard.load()
    if reason := guard.comparable(baseline):
        pytest.skip(reason)
    assert guard.grown(guard.in_a_process(extra=0.3), baseline)


def test_one_good_reading_is_enough():
    readings = iter([{"small": 5.0, "large": 2.0}, {"small": 4.1, "large": 2.1}, {"small": 9.0, "large": 9.0}])
    assert guard.check(BASELINE, readings) == ""
    assert next(readings) == {"small": 9.0, "large": 9.0}


def test_a_cost_that_is_high_every_time_is_named_by_its_least_excess():
    wrong = guard.check(BASELINE, [{"small": 6.0, "large": 2.0}, {"small": 5.0, "large": 2.2}])
    assert "small: +25%" in wrong
    assert "large" not in wrong
    assert "make bench-baseline" in wrong


def test_up_to_the_limit_is_allowed():
    at_the_limit = {name: turns * guard.ALLOWED for name, turns in BASELINE.turns.items()}
    assert guard.grown(at_the_limit, BASELINE) == {}
    assert guard.grown({**at_the_limit, "large": 2.0 * 1.151}, BASELINE) == {"large": pytest.approx(1.151)}


def test_a_path_that_was_not_measured_is_an_error():
    with pytest.raises(KeyError):
        guard.check(BASELINE, itertools.repeat({"small": 4.0}, 1))


def test_the_baseline_of_another_interpreter_says_nothing():
    other = Baseline("CPython 2.7", "any", BASELINE.turns, BASELINE.spread)
    assert "CPython 2.7" in guard.comparable(other)
    assert guard.comparable(BASELINE) == ""


def test_a_baseline_is_the_median_of_its_readings():
    readings = [dict.fromkeys(guard.SIZES, turns) for turns in (2.0, 2.2, 2.1)]
    renewed = guard.written(readings, "a processor")
    assert set(renewed.turns.values()) == {2.1}
    assert set(renewed.spread.values()) == {0.095}
