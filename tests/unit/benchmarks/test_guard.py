"""The guard of the hot path's cost, and that it can fail."""

import itertools

import pytest

from bench import guard
from bench.guard import Baseline
from bench.meter import processor_name

BASELINE = Baseline(guard.interpreter(), processor_name(), {"small": 4.0, "large": 2.0}, {"small": 0.03, "large": 0.02})


def test_an_event_costs_no_more_than_it_did():
    baseline = guard.load()
    if reason := guard.comparable(baseline):
        pytest.skip(reason)
    wrong = guard.check(baseline, guard.several())
    assert not wrong, wrong


def test_work_that_is_added_is_found():
    plain = Baseline(guard.interpreter(), processor_name(), guard.in_a_process(), {})
    assert set(guard.grown(guard.in_a_process(extra=0.5), plain)) == set(guard.SIZES)


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


@pytest.mark.parametrize(
    ("python", "processor"), [("CPython 2.7", processor_name()), (guard.interpreter(), "another processor")]
)
def test_a_baseline_from_elsewhere_says_nothing(python, processor):
    reason = guard.comparable(Baseline(python, processor, BASELINE.turns, BASELINE.spread))
    assert f"the baseline is of {python} on {processor}" in reason


def test_a_baseline_from_here_says_something():
    assert guard.comparable(BASELINE) == ""


def test_a_baseline_is_the_median_of_its_readings():
    readings = [dict.fromkeys(guard.SIZES, turns) for turns in (2.0, 2.2, 2.1)]
    renewed = guard.written(readings, "a processor")
    assert set(renewed.turns.values()) == {2.1}
    assert set(renewed.spread.values()) == {0.095}
