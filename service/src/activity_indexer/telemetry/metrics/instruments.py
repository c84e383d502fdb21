"""Makes the instruments of prometheus_client: each metric is declared where it is measured, with its labels' values.

Label values outside their sets become `other`, so that nothing that comes from outside makes a new series.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from activity_indexer.telemetry.metrics.distribution import Distribution

PREFIX: Final = "activity_indexer_"
OTHER: Final = "other"
WORDS: Final = 64
"""Different values of a label that is a word of the code."""

DURATIONS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,63}", re.ASCII)

Child = TypeVar("Child", Counter, Gauge, Histogram)
Made = TypeVar("Made", bound=Collector)


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


class Family(Generic[Child]):
    """A metric with labels."""

    def __init__(self, metric: Child, labels: Sequence[Label]) -> None:
        self._metric: Child = metric
        self._labels = labels
        self._children: dict[tuple[str, ...], Child] = {}
        self._words: list[set[str]] = [set() for _ in labels]

    def of(self, *values: str) -> Child:
        """The instrument for these label values, in the order of the labels."""
        found = self._children.get(values)
        if found is not None:
            return found
        shown = tuple(map(self._shown, self._labels, self._words, values))
        child: Child = self._metric.labels(*shown)
        self._children[shown] = child
        return child

    def keep(self, values: Collection[str]) -> None:
        """Forget the values of all others, in a metric with one label."""
        for (value,) in list(self._children):
            if value not in values:
                self.forget(value)

    def forget(self, value: str) -> None:
        """Show the value for this label value no longer."""
        if self._children.pop((value,), None) is not None:
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


class Instruments(Collector):
    """Makes all metrics and shows them, in the order in which they were made."""

    def __init__(self) -> None:
        self.declarations: list[Declaration] = []
        self._metrics: list[Collector] = []

    def counter(self, name: str, unit: str, about: str) -> Counter:
        """A number that only grows."""
        return self._made(Counter, Declaration(name, "counter", unit, about))

    def counters(self, name: str, unit: str, about: str, *labels: Label) -> Family[Counter]:
        """The same, by labels."""
        return self._family(Counter, Declaration(name, "counter", unit, about, labels))

    def gauge(self, name: str, unit: str, about: str) -> Gauge:
        """A number as it is now."""
        return self._made(Gauge, Declaration(name, "gauge", unit, about))

    def gauges(self, name: str, unit: str, about: str, *labels: Label) -> Family[Gauge]:
        """The same, by labels; shown when it is known."""
        return self._family(Gauge, Declaration(name, "gauge", unit, about, labels))

    def histogram(self, name: str, unit: str, buckets: Sequence[float], about: str) -> Histogram:
        """Counts of values by bucket."""
        return self._made(Histogram, Declaration(name, "histogram", unit, about, (), buckets), buckets=buckets)

    def histograms(self, name: str, unit: str, about: str, *labels: Label) -> Family[Histogram]:
        """The same, of durations by labels."""
        declaration = Declaration(name, "histogram", unit, about, labels, DURATIONS)
        return self._family(Histogram, declaration, buckets=DURATIONS)

    def distribution(self, name: str, unit: str, buckets: Sequence[float], about: str) -> Distribution:
        """A histogram that takes many values at once."""
        declaration = Declaration(name, "histogram", unit, about, (), buckets)
        found = Distribution(buckets, **declaration.arguments)
        return self._added(declaration, found)

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for; when a series began is not shown."""
        for metric in self._metrics:
            for family in metric.collect():
                family.samples = [each for each in family.samples if not each.name.endswith("_created")]
                yield family

    def snapshot(self) -> dict[str, Any]:
        """Name without prefix → value as JSON types, nested by label values; of histograms, `count` and `sum`."""
        return {
            declaration.name: _value(declaration, metric)
            for declaration, metric in zip(self.declarations, self.collect(), strict=True)
        }

    def _made(self, kind: type[Child], declaration: Declaration, **more: Any) -> Child:
        names = [label.name for label in declaration.labels]
        return self._added(declaration, kind(labelnames=names, registry=None, **declaration.arguments, **more))

    def _family(self, kind: type[Child], declaration: Declaration, **more: Any) -> Family[Child]:
        """With one label of known values, counters and histograms begin at 0: the first event is an increase."""
        family = Family(self._made(kind, declaration, **more), declaration.labels)
        values = [label.values for label in declaration.labels]
        if declaration.kind != "gauge" and len(values) == 1 and isinstance(values[0], tuple):
            for value in values[0]:
                family.of(value)
        return family

    def _added(self, declaration: Declaration, metric: Made) -> Made:
        self.declarations.append(declaration)
        self._metrics.append(metric)
        return metric


def _value(declaration: Declaration, metric: Metric) -> Any:
    found: dict[str, Any] = {}
    for sample in metric.samples:
        if sample.name.endswith("_bucket"):
            continue
        path = [sample.labels[label.name] for label in declaration.labels]
        if declaration.kind == "histogram":
            path.append(sample.name.rpartition("_")[2])
        level = found
        for step in path[:-1]:
            level = level.setdefault(step, {})
        if not path:
            return sample.value
        level[path[-1]] = sample.value
    return found
