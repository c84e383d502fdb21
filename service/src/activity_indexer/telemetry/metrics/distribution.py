"""A histogram that takes many values at once: prometheus_client's own takes one, for each event that is written."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Distribution(Collector):
    """Counts of values by bucket; `bounds` are the buckets' upper limits, inclusive."""

    def __init__(self, bounds: Sequence[float], name: str = "", documentation: str = "", unit: str = "") -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self._described = name, documentation, unit

    def add_all(self, values: Iterable[float]) -> None:
        """Count durations: by bucket, which costs less than by value. Where clocks differ they may be below 0."""
        ordered = sorted(values)
        if ordered and ordered[0] < 0:
            ordered = [max(0.0, each) for each in ordered]
        below = 0
        for at, bound in enumerate(self.bounds):
            until = bisect_right(ordered, bound, below)
            self.counts[at] += until - below
            below = until
        self.counts[-1] += len(ordered) - below
        self.sum += sum(ordered)

    def quantile(self, share: float) -> float:
        """The value below which a share of all lies, estimated within its bucket; 0 when there is none.

        What is above the last limit counts as that limit.
        """
        rank = share * sum(self.counts)
        lower, below = 0.0, 0
        for upper, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return lower + (upper - lower) * (rank - below) / count
            lower, below = upper, below + count
        return lower if below < sum(self.counts) else 0.0

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for."""
        name, documentation, unit = self._described
        limits = [*(repr(float(bound)) for bound in self.bounds), "+Inf"]
        buckets = list(zip(limits, accumulate(self.counts), strict=True))
        yield HistogramMetricFamily(name, documentation, buckets, self.sum, unit=unit)
