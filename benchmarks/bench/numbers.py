"""Statistics of few and noisy readings: medians and spread, and how a cost grows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LINEAR: Final = 1.1
"""An exponent up to this is called linear: the noise of one run moves it by a few hundredths."""

FLAT: Final = 0.05
KNEE: Final = 0.35
"""Change of the slope (both axes logarithmic) from which a point is called a knee."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Several readings of one thing."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, readings: Iterable[float]) -> Spread:
        """Raises ValueError when there are none."""
        values = list(readings)
        if not values:
            raise ValueError("expected at least one reading, got none")
        return cls(statistics.median(values), min(values), max(values), len(values))

    @property
    def share(self) -> float:
        """How far the readings are apart, as a share of the median."""
        return (self.most - self.least) / self.median if self.median else 0.0


def quantile(readings: Sequence[float], share: float) -> float:
    """The reading below which this share of them lies: 0 is the least one."""
    if not readings:
        raise ValueError("expected at least one reading, got none")
    ordered = sorted(readings)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Point:
    """What one amount costs in all."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Growth:
    """How a cost grows with an amount: like its power `exponent`, and like `fixed + each * amount`."""

    exponent: float
    fixed: float
    each: float
    knees: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """In one word."""
        if self.exponent > LINEAR:
            return "superlinear"
        if self.exponent < -FLAT:
            return "falling"
        return "flat" if self.exponent <= FLAT else "linear or less"


def slope(points: Sequence[Point]) -> float:
    """The exponent of the power law nearest to the points (least squares of the logarithms)."""
    xs, ys = [math.log(point.x) for point in points], [math.log(point.y) for point in points]
    return statistics.linear_regression(xs, ys).slope


def growth(points: Sequence[Point]) -> Growth:
    """Fit points of positive x and y, at least two of different x, in any order.

    The line is fitted by relative errors, so that the small amounts count as much as the large ones. The exponent is
    that of the upper half of the points: what is fixed hides the growth in the lower one.
    """
    ordered = sorted(points, key=lambda point: point.x)
    if len({point.x for point in ordered}) < 2:
        raise ValueError(f"expected points of two amounts at least, got {len(ordered)} points")
    upper = ordered[len(ordered) // 2 - 1 :] if len(ordered) > 3 else ordered
    each, fixed = _line(ordered)
    return Growth(slope(upper), fixed, each, _knees(ordered))


def _line(points: Sequence[Point]) -> tuple[float, float]:
    """Slope and height of the line with the least relative errors."""
    weights = [1 / point.y**2 for point in points]
    total = sum(weights)
    mean_x = sum(weight * point.x for weight, point in zip(weights, points, strict=True)) / total
    mean_y = sum(weight * point.y for weight, point in zip(weights, points, strict=True)) / total
    across = sum(weight * (point.x - mean_x) ** 2 for weight, point in zip(weights, points, strict=True))
    along = sum(weight * (point.x - mean_x) * (point.y - mean_y) for weight, point in zip(weights, points, strict=True))
    each = along / across
    return each, mean_y - each * mean_x


def _knees(points: Sequence[Point]) -> tuple[float, ...]:
    """Inner points at which the slope changes by more than KNEE."""
    found = []
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        if abs(slope((here, after)) - slope((before, here))) > KNEE:
            found.append(here.x)
    return tuple(found)
