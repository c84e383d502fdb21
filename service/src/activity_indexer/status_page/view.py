"""What the page says, from the history, the metrics now, the probes and the settings. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from activity_indexer.facts import Fact, PartitionFacts
from activity_indexer.status_page.history import SPAN, History, Sample, Step
from activity_indexer.status_page.plot import Plot, Point
from activity_indexer.telemetry.health import Verdict

NOW: Final = 60.0
"""Seconds that count as now for a rate."""
SHORTEST: Final = 300.0
"""Seconds that a plot covers at least."""
CAUSES: Final = 20
"""Causes of dead letters that are shown; the commonest."""


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """One assigned partition; offsets and lags in events, None where not known yet.

    `lag_seconds` is the age of the oldest event that waits, `behind_transaction` counts events that another producer's
    open transaction hides, `lost` those that were removed before they were read.
    """

    partition: int
    lag: int | None
    committed: int | None
    audit_lag: int | None
    audit_lag_seconds: float | None
    lag_seconds: float | None
    behind_transaction: int | None
    lost: int | None


@dataclass(frozen=True, slots=True)
class CauseRow:
    """Dead letters with one cause: in the last hour, since the start, and when the last one came (Unix seconds)."""

    stage: str
    error: str
    last_hour: int
    total: int
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage's time in the last hour (seconds), and its share of all stages' time."""

    stage: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Headline:
    """The numbers that show whether it keeps up.

    `rate` is in events per second and covers the last minute, as does `age_p99` (seconds from publishing to written;
    None when nothing was written); `audit_lag_seconds` is the age of the oldest event that waits for the audit;
    `catch_up` is the time to zero lag at that rate (seconds; None: not known or none).
    """

    rate: float
    lag: int
    audit_lag: int
    audit_lag_seconds: float
    catch_up: float | None
    age_p50: float | None
    age_p99: float | None
    dead_letters: int


@dataclass(frozen=True, slots=True)
class View:
    """All of the page but the settings."""

    ready: bool
    reasons: Sequence[str]
    facts: Sequence[Fact]
    headline: Headline
    partitions: Sequence[PartitionRow]
    causes: Sequence[CauseRow]
    outcomes: Mapping[str, int]
    stages: Sequence[StageRow]
    dependencies: Mapping[str, bool]
    plots: Sequence[Plot]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {name: value for name, value in asdict(self).items() if name != "plots"} | {
            "facts": msgspec.to_builtins(self.facts),
            "plots": [{"title": plot.title, "unit": plot.unit, "points": list(plot.points)} for plot in self.plots],
        }


def view(
    history: History,
    now: Sample,
    values: Mapping[str, Any],
    verdict: Verdict,
    facts: Sequence[Fact],
    partitions: Mapping[int, PartitionFacts],
) -> View:
    """What is to be shown; `values` is the metrics' snapshot, `verdict` the answer of readiness.

    `facts` and `partitions` are those of health.

    Plots show the regular samples; a step of a moment up to `now` would be all noise.
    """
    recent = history.upto(now)
    hour = recent.since(SPAN)
    return View(
        ready=verdict.ok,
        reasons=verdict.reasons,
        facts=facts,
        headline=_headline(recent.since(NOW), hour, values),
        partitions=_partitions(values, partitions),
        causes=_causes(recent, hour),
        outcomes={name: round(count) for name, count in hour.after.settled.items()},
        stages=_stages(hour),
        dependencies={name: bool(up) for name, up in values["dependency_up"].items()},
        plots=_plots(history),
    )


def _headline(minute: Step, hour: Step, values: Mapping[str, Any]) -> Headline:
    lag = sum(values["consumer_lag_events"].values())
    return Headline(
        rate=minute.rate,
        lag=round(lag),
        audit_lag=round(sum(values["audit_lag_events"].values())),
        audit_lag_seconds=max(values["audit_lag_seconds"].values(), default=0.0),
        catch_up=lag / minute.rate if lag and minute.rate else None,
        age_p50=minute.age(0.5),
        age_p99=minute.age(0.99),
        dead_letters=round(sum(hour.dead_letters().values())),
    )


def _partitions(values: Mapping[str, Any], known: Mapping[int, PartitionFacts]) -> list[PartitionRow]:
    lags, committed, audit = (values[name] for name in ("consumer_lag_events", "committed_offset", "audit_lag_events"))
    ages = values["audit_lag_seconds"]
    return [
        PartitionRow(
            int(name),
            _whole(lags.get(name)),
            _whole(committed.get(name)),
            _whole(audit.get(name)),
            ages.get(name),
            facts.lag_seconds,
            facts.behind_transaction,
            facts.lost,
        )
        for name in sorted({*lags, *committed, *audit, *map(str, known)}, key=int)
        for facts in [known.get(int(name), PartitionFacts())]
    ]


def _causes(history: History, hour: Step) -> list[CauseRow]:
    recent, seen = hour.dead_letters(), history.last_seen()
    rows = [
        CauseRow(*cause, round(recent.get(cause, 0)), round(total), seen.get(cause))
        for cause, total in hour.after.dead_letters.items()
        if total
    ]
    return sorted(rows, key=lambda row: (-row.last_hour, -row.total, row.stage, row.error))[:CAUSES]


def _stages(hour: Step) -> list[StageRow]:
    spent = hour.stages()
    total = sum(spent.values())
    return [StageRow(stage, seconds, seconds / total) for stage, seconds in spent.items()]


def _plots(history: History) -> list[Plot]:
    steps, end = list(history.steps()), history.last.at
    series: Sequence[tuple[str, str, list[Point]]] = (
        ("Throughput", "events/s", [(step.after.at, step.rate) for step in steps]),
        ("Lag", "events", [(step.after.at, step.after.lag) for step in steps]),
        ("Publishing to written, p99", "seconds", [(step.after.at, step.age(0.99)) for step in steps]),
        ("Dead letters", "events/min", [(step.after.at, _per_minute(step)) for step in steps]),
    )
    start = max(end - SPAN, min(history.first.at, end - SHORTEST))
    return [Plot(title, unit, points, start, end) for title, unit, points in series]


def _per_minute(step: Step) -> float:
    return 60.0 * sum(step.dead_letters().values()) / step.seconds if step.seconds > 0 else 0.0


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
