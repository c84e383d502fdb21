"""Metrics by prometheus_client's instruments: each is declared with the facts that it counts, in one place.

Label values outside their sets become `other`, so that nothing that comes from outside makes a new series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from activity_indexer.reports import Kind, Subscription
from activity_indexer.telemetry.metrics.distribution import Distribution

PREFIX: Final = "activity_indexer_"
OTHER: Final = "other"
WORDS: Final = 64
"""Different values of a label that is a word of the code."""

DURATIONS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}", re.ASCII)

Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)
Numbers = Callable[[Kind], Mapping[Any, float]]
"""Numbers of a fact by label values: a text, or a tuple of them in the order of the labels."""

_CHANGES: Final[Mapping[type, Callable[[Any, float], None]]] = {
    Counter: Counter.inc,
    Gauge: Gauge.set,
    Histogram: Histogram.observe,
}


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its name, and its values when they are a closed set (a tuple), else what they are (a text).

    Values outside a closed set are shown as `other`. Of an open one with a `limit`, the first values in snake_case are.
    """

    name: str
    values: tuple[str, ...] | str
    other: str = OTHER
    limit: int = 0


PARTITION: Final = Label("partition", "number of an assigned partition")


def word(name: str) -> Label:
    """A label whose values are words of the code."""
    return Label(name, f"a word of the code, at most {WORDS} different ones, else `{OTHER}`", limit=WORDS)


@dataclass(frozen=True, slots=True)
class Declaration:
    """One metric. `name` is what Prometheus shows, without the prefix; histograms have `buckets` in `unit`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    labels: Sequence[Label] = ()
    buckets: Sequence[float] = ()

    @property
    def full_name(self) -> str:
        """The name with its prefix."""
        return PREFIX + self.name

    @property
    def arguments(self) -> dict[str, Any]:
        """What the client wants; it would add a unit to a name that does not end in it."""
        unit = self.unit if self.name.removesuffix("_total").endswith(f"_{self.unit}") else ""
        return {"name": self.full_name, "documentation": self.help, "unit": unit}


class Family(Generic[Instrument]):
    """The instruments of one metric by label values, and the facts that they count."""

    def __init__(self, metric: Instrument, labels: Sequence[Label], subscriptions: list[Subscription]) -> None:
        self._metric: Instrument = metric
        self._change: Callable[[Any, float], None] = _CHANGES[type(metric)]
        self._labels = labels
        self._subscriptions = subscriptions
        self._made: dict[tuple[str, ...], Instrument] = {} if labels else {(): metric}
        self._words: list[set[str]] = [set() for _ in labels]

    def of(self, *values: str) -> Instrument:
        """The instrument for these label values, in the order of the labels."""
        found = self._made.get(values)
        if found is not None:
            return found
        shown = tuple(map(self._shown, self._labels, self._words, values))
        instrument: Instrument = self._metric.labels(*shown)
        self._made[shown] = instrument
        return instrument

    def counts(self, kind: type[Kind], number: Callable[[Kind], float | None]) -> Family[Instrument]:
        """Add (counter), set (gauge) or observe (histogram) a number of each fact of this kind, unless it is None."""
        change, instrument = self._change, self.of()

        def count(fact: Kind) -> None:
            if (found := number(fact)) is not None:
                change(instrument, found)

        self._subscriptions.append((kind, count))
        return self

    def counts_each(
        self, kind: type[Kind], numbers: Numbers[Kind], subscriptions: list[Subscription] | None = None
    ) -> Family[Instrument]:
        """The same by label values; of another consumer's facts where its subscriptions are given."""
        change, of = self._change, self.of

        def count(fact: Kind) -> None:
            for values, number in numbers(fact).items():
                change(of(*values) if type(values) is tuple else of(values), number)

        (self._subscriptions if subscriptions is None else subscriptions).append((kind, count))
        return self

    def keep(self, values: Collection[str]) -> None:
        """Forget the values of all others, in a metric with one label."""
        for (value,) in list(self._made):
            if value not in values:
                self.forget(value)

    def forget(self, value: str) -> None:
        """Show the value for this label value no longer."""
        if self._made.pop((value,), None) is not None:
            self._metric.remove(value)

    @staticmethod
    def _shown(label: Label, words: set[str], value: str) -> str:
        if isinstance(label.values, tuple):
            return value if value in label.values else label.other
        if not label.limit or value in words:
            return value
        if len(words) >= label.limit or not _WORD.fullmatch(value):
            return label.other
        words.add(value)
        return value


class Shown(Collector):
    """Shows all metrics, in the order in which they were made."""

    def __init__(self) -> None:
        self.declarations: list[Declaration] = []
        self._metrics: list[Collector] = []

    def add(self, declaration: Declaration, metric: Collector) -> None:
        """Show this metric, too."""
        self.declarations.append(declaration)
        self._metrics.append(metric)

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for, without the time at which a series began."""
        for metric in self._metrics:
            for family in metric.collect():
                family.samples = [each for each in family.samples if not each.name.endswith("_created")]
                yield family

    def snapshot(self) -> dict[str, Any]:
        """Name without prefix → value as JSON types, nested by label values; of histograms, `count` and `sum`."""
        pairs = zip(self.declarations, self.collect(), strict=True)
        return {declaration.name: _value(declaration, metric) for declaration, metric in pairs}


class Instruments:
    """Makes metrics; `subscriptions` are the facts that they count."""

    def __init__(self, shown: Shown) -> None:
        self.subscriptions: list[Subscription] = []
        self._shown = shown

    def counter(self, name: str, unit: str, about: str, *labels: Label) -> Family[Counter]:
        """A number that only grows."""
        return self._made(Counter, Declaration(name, "counter", unit, about, labels))

    def gauge(self, name: str, unit: str, about: str, *labels: Label) -> Family[Gauge]:
        """A number as it is now; with labels it is shown when it is known."""
        return self._made(Gauge, Declaration(name, "gauge", unit, about, labels))

    def histogram(
        self, name: str, unit: str, about: str, *labels: Label, buckets: Sequence[float] = DURATIONS
    ) -> Family[Histogram]:
        """Counts of values by bucket."""
        declaration = Declaration(name, "histogram", unit, about, labels, buckets)
        return self._made(Histogram, declaration, buckets=buckets)

    def distribution(self, name: str, unit: str, about: str, buckets: Sequence[float]) -> Distribution:
        """A histogram that takes many values at once."""
        declaration = Declaration(name, "histogram", unit, about, (), buckets)
        found = Distribution(buckets, **declaration.arguments)
        self._shown.add(declaration, found)
        return found

    def _made(self, kind: type[Instrument], declaration: Declaration, **more: Any) -> Family[Instrument]:
        """With one label of known values, counters and histograms begin at 0: the first event is an increase."""
        names = [label.name for label in declaration.labels]
        metric = kind(labelnames=names, registry=None, **declaration.arguments, **more)
        self._shown.add(declaration, metric)
        family = Family(metric, declaration.labels, self.subscriptions)
        values = [label.values for label in declaration.labels]
        if declaration.kind != "gauge" and len(values) == 1 and isinstance(values[0], tuple):
            for value in values[0]:
                family.of(value)
        return family


def _value(declaration: Declaration, metric: Metric) -> Any:
    found: dict[str, Any] = {}
    for sample in metric.samples:
        if sample.name.endswith("_bucket"):
            continue
        path = [sample.labels[label.name] for label in declaration.labels]
        if declaration.kind == "histogram":
            path.append(sample.name.rpartition("_")[2])
        if not path:
            return sample.value
        level = found
        for step in path[:-1]:
            level = level.setdefault(step, {})
        level[path[-1]] = sample.value
    return found
