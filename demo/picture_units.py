"""Numbers as people read them, by the unit names of Grafana."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

METRIC: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
BINARY: Final = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B"))
TIME: Final = ((3600.0, " h"), (60.0, " min"), (1.0, " s"), (1e-3, " ms"), (1e-6, " µs"))


def said(value: float, unit: str) -> str:
    """A number with its unit: s, bytes, percentunit, bool_yes_no, none, short, or `suffix: what is counted`."""
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    if unit == "percentunit":
        return f"{_digits(100 * value)} %"
    if unit == "s":
        return _scaled(value, TIME) if value else "0 s"
    if unit == "bytes":
        return _scaled(value, BINARY)
    return _scaled(value, METRIC) + unit.partition(":")[2]


def _scaled(value: float, steps: Sequence[tuple[float, str]]) -> str:
    size, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    return f"{_digits(value / size)}{name}"


def _digits(value: float) -> str:
    """Three digits that mean something."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return text if "e" not in text else f"{value:.3f}"


def ticks(top: float, unit: str, most: int = 4) -> list[float]:
    """Round numbers of the unit from 0 up to `top`, a few of them."""
    if top <= 0:
        return [0.0]
    steps = {"s": TIME, "bytes": BINARY}.get(unit, METRIC)
    scale = next((size for size, _ in steps if top >= size), steps[-1][0])
    rough = top / scale / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough) * scale
    return [step * number for number in range(int(top / step + 1e-9) + 1)]
