"""Medians, spread, and how a cost grows."""

import pytest

from bench.numbers import Point, Spread, growth, quantile, slope


def test_a_spread_is_the_median_and_the_ends():
    spread = Spread.of([3.0, 1.0, 2.0, 10.0])
    assert (spread.median, spread.least, spread.most, spread.count) == (2.5, 1.0, 10.0, 4)
    assert spread.share == pytest.approx(3.6)


def test_there_is_no_spread_of_nothing():
    with pytest.raises(ValueError, match="at least one reading"):
        Spread.of([])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.25, 2), (0.5, 3), (1.0, 4)])
def test_quantiles_are_readings(share, expected):
    assert quantile([4, 2, 3, 1], share) == expected


@pytest.mark.parametrize(
    ("power", "verdict"),
    [(0, "flat"), (0.5, "linear or less"), (1, "linear or less"), (1.3, "superlinear"), (-1, "falling")],
)
def test_a_power_law_is_recognised(power, verdict):
    found = growth([Point(x, 7.0 * x**power) for x in (10, 100, 1_000, 10_000)])
    assert found.exponent == pytest.approx(power)
    assert found.verdict == verdict
    assert found.knees == ()


def test_a_line_with_a_fixed_part_is_found_again():
    found = growth([Point(x, 40.0 + 0.5 * x) for x in (1, 4, 16, 64, 256)])
    assert found.fixed == pytest.approx(40.0)
    assert found.each == pytest.approx(0.5)


def test_a_fixed_part_does_not_hide_growth_that_is_worse_than_linear():
    assert growth([Point(x, 1_000.0 + x**2) for x in (1, 10, 100, 1_000, 10_000)]).verdict == "superlinear"


def test_a_knee_is_where_the_slope_changes():
    flat_then_linear = [Point(x, max(50.0, x / 2)) for x in (1, 10, 100, 1_000, 10_000)]
    assert growth(flat_then_linear).knees == (100,)


def test_order_does_not_matter():
    points = [Point(x, 3.0 * x) for x in (1, 2, 4, 8)]
    assert growth(points[::-1]) == growth(points)
    assert slope(points) == pytest.approx(1.0)


def test_one_amount_does_not_grow():
    with pytest.raises(ValueError, match="two amounts"):
        growth([Point(5, 1.0), Point(5, 2.0)])
