"""The values behind the metrics: plain numbers, cheap to change, shown in Prometheus' form when asked.

For one thread (the event loop): there are no locks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from activity_indexer.telemetry.metrics.declarations import Declaration

_QUANTILES: Final = {"p50": 0.5, "p99": 0.99}
Labels = tuple[str, ...]


class Distribution:
    """Counts of values by bucket; `bounds` are the buckets' upper limits, inclusive."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, values: Iterable[float]) -> None:
        """Count values: by bucket, which costs less than by value."""
        ordered = sorted(values)
        below = 0
        for at, bound in enumerate(self.bounds):
            until = bisect_right(ordered, bound, below)
            self.counts[at] += until - below
            below = until
        self.counts[-1] += len(ordered) - below
        self.sum += sum(ordered)

    def buckets(self) -> list[tuple[str, float]]:
        """Upper limits and cumulative counts, as Prometheus wants them."""
        return list(zip([*(repr(float(bound)) for bound in self.bounds), "+Inf"], accumulate(self.counts), strict=True))

    def quantile(self, share: float) -> float:
        """The value below which a share of all lies, estimated within its bucket; 0 when there is none.

        What lies above the last limit counts as that limit.
        """
        rank = share * sum(self.counts)
        lower, below = 0.0, 0
        for upper, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return lower + (upper - lower) * (rank - below) / count
            lower, below = upper, below + count
        return lower if below < sum(self.counts) else 0.0

    def summary(self) -> dict[str, float]:
        """Count, sum and estimated quantiles."""
        quantiles = {name: round(self.quantile(share), 6) for name, share in _QUANTILES.items()}
        return {"count": sum(self.counts), "sum": round(self.sum, 6)} | quantiles


class Series(Collector):
    """The values of all declared metrics, by name (without prefix) and label values."""

    def __init__(self, declarations: Sequence[Declaration]) -> None:
        self._declarations = declarations
        self._numbers: dict[str, dict[Labels, float]] = {}
        self._distributions: dict[str, dict[Labels, Distribution]] = {}
        for each in declarations:
            if each.kind == "histogram":
                self._distributions[each.name] = {}
            else:
                self._numbers[each.name] = {}
        self._bounds = {each.name: each.buckets for each in declarations}
        self._show_known()

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Raise a counter."""
        numbers = self._numbers[name]
        numbers[labels] = numbers.get(labels, 0) + amount

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._numbers[name][labels] = value

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Count a value in a histogram."""
        self.distribution(name, *labels).add(value)

    def distribution(self, name: str, *labels: str) -> Distribution:
        """A histogram's counts, for many values at once."""
        distributions = self._distributions[name]
        found = distributions.get(labels)
        if found is None:
            found = distributions[labels] = Distribution(self._bounds[name])
        return found

    def forget(self, name: str, *labels: str) -> None:
        """Show the value of a gauge no longer."""
        self._numbers[name].pop(labels, None)

    def keep(self, name: str, values: Iterable[str]) -> None:
        """Forget the values of a gauge with one label, except those of `values`."""
        kept = {(value,) for value in values}
        self._numbers[name] = {labels: number for labels, number in self._numbers[name].items() if labels in kept}

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for."""
        for each in self._declarations:
            yield self._family(each)

    def snapshot(self) -> dict[str, Any]:
        """Name → value as JSON types, nested by label values."""
        shown: dict[str, Any] = {}
        for each in self._declarations:
            if each.kind == "histogram":
                pairs = [(labels, found.summary()) for labels, found in self._distributions[each.name].items()]
            else:
                pairs = [(labels, number) for labels, number in self._numbers[each.name].items()]  # type: ignore[misc]
            shown[each.name] = _nested(pairs) if each.labels else pairs[0][1]
        return shown

    def _family(self, each: Declaration) -> Metric:
        names = [label.name for label in each.labels]
        unit = each.unit if each.name.removesuffix("_total").endswith(f"_{each.unit}") else ""
        if each.kind == "histogram":
            histogram = HistogramMetricFamily(each.full_name, each.help, labels=names, unit=unit)
            for labels, found in self._distributions[each.name].items():
                histogram.add_metric(labels, found.buckets(), found.sum)
            return histogram
        kind = CounterMetricFamily if each.kind == "counter" else GaugeMetricFamily
        family = kind(each.full_name, each.help, labels=names, unit=unit)
        for labels, number in self._numbers[each.name].items():
            family.add_metric(labels, number)
        return family

    def _show_known(self) -> None:
        """Metrics without labels begin at 0, and so do counters and histograms with one label of known values.

        So the first event is seen as an increase. Gauges with labels are shown when they are known.
        """
        for each in self._declarations:
            values = [label.values for label in each.labels]
            if not values:
                self._start(each, ())
            elif each.kind != "gauge" and len(values) == 1 and isinstance(values[0], tuple):
                for value in values[0]:
                    self._start(each, (value,))

    def _start(self, each: Declaration, labels: Labels) -> None:
        if each.kind == "histogram":
            self.distribution(each.name, *labels)
        else:
            self._numbers[each.name][labels] = 0


def _nested(pairs: Sequence[tuple[Labels, Any]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for labels, value in pairs:
        level = nested
        for step in labels[:-1]:
            level = level.setdefault(step, {})
        level[labels[-1]] = value
    return nested
