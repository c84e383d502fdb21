"""Runs as a file for programs, a table for the terminal, and what follows from them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from bench import meter
from bench.candidates import TITLES
from bench.numbers import Growth, Point, Spread, growth
from bench.run import Run

WIDTH: Final = 80
PACKAGES: Final = ("activity-indexer", "aiokafka", "aiohttp", "elasticsearch", "msgspec", "uvloop", "redis")


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    cores: int
    processor: str
    python: str
    system: str
    versions: dict[str, str]


class Topic(msgspec.Struct, frozen=True):
    """What it took `activity-loadgen` to publish the events of a topic, its start included (CPU µs of an event)."""

    events: int
    bytes: int
    cpu_microseconds: float
    events_per_second: float


class Results(msgspec.Struct, frozen=True):
    """Of one call of `make bench`. `reference` is the calibration that costs are given at (µs a turn)."""

    started: str
    machine: Machine
    reference: float
    runs: list[Run]
    topics: list[Topic] = []


class Row(msgspec.Struct, frozen=True):
    """What the runs of one case amount to."""

    part: str
    name: str
    candidate: str
    x: float | None
    cost: Spread | None
    rate: Spread | None
    peak_mib: float
    lag_mean_ms: float | None
    lag_most_ms: float | None
    failure: str


def machine(servers: Mapping[str, str]) -> Machine:
    """This one; no names of hosts."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return Machine(
        os.cpu_count() or 1,
        meter.processor_name(),
        f"{platform.python_implementation()} {platform.python_version()}",
        f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        versions | dict(servers),
    )


def reference(runs: Iterable[Run]) -> float:
    """The least calibration: the machine at its fastest."""
    return min((run.calibration for run in runs if run.calibration), default=0.0)


def combined(found: Sequence[Results]) -> Results:
    """Several calls as one: of a part that was measured more than once the last one counts."""
    last = {run.part: at for at, one in enumerate(found) for run in one.runs}
    runs = [run for at, one in enumerate(found) for run in one.runs if last[run.part] == at]
    topics = [topic for one in found for topic in one.topics]
    return Results(found[-1].started, found[-1].machine, reference(runs), runs, topics)


def cost(run: Run, at: float) -> float:
    """CPU microseconds of an event, as they would be at this calibration."""
    return run.microseconds * at / run.calibration


def rows(results: Results) -> list[Row]:
    """One for each case, in the order of the runs."""
    cases: dict[tuple[str, str], list[Run]] = {}
    for run in results.runs:
        cases.setdefault((run.part, run.name), []).append(run)
    return [_row(runs, results.reference) for runs in cases.values()]


def _row(runs: Sequence[Run], at: float) -> Row:
    good = [run for run in runs if not run.failure]
    first = runs[0]
    return Row(
        first.part,
        first.name,
        first.candidate,
        first.x,
        Spread.of(cost(run, at) for run in good) if good else None,
        Spread.of(run.events_per_second for run in good) if good else None,
        max((run.peak_mib for run in good), default=0.0),
        _most(run.loop_lag_mean_ms for run in good),
        _most(run.loop_lag_most_ms for run in good),
        next((run.failure for run in runs if run.failure), ""),
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def points(found: Sequence[Row], part: str) -> list[Point]:
    """Cost of an event over the amount of a growth part; an amount of zero has no place on such an axis."""
    return [Point(row.x, row.cost.median) for row in found if row.part == part and row.x and row.cost]


def samples(results: Results) -> list[Point]:
    """CPU seconds of a whole run over its documents, at the reference's speed, from the longest run."""
    longest = max((run for run in results.runs if run.samples), key=lambda run: run.events, default=None)
    if longest is None:
        return []
    scale = results.reference / longest.calibration
    return [Point(sample.documents, sample.cpu_seconds * scale) for sample in longest.samples if sample.cpu_seconds]


def grown(results: Results, part: str) -> Growth | None:
    """How the cost of a growth part grows; None when it was not measured at two amounts at least."""
    found = samples(results) if part == "growth-events" else points(rows(results), part)
    return growth(found) if len({point.x for point in found}) > 1 else None


def table(results: Results) -> str:
    """For the terminal, at most 80 columns wide."""
    lines: list[str] = []
    found = rows(results)
    for part in dict.fromkeys(row.part for row in found):
        lines += ["", part, f"{'':31}{'µs/event':>9}{'least..most':>14}{'events/s':>10}{'MiB':>5}{'lag ms':>9}"]
        lines += [_line(row) for row in found if row.part == part]
        grows = grown(results, part) if part.startswith("growth-") else None
        if grows is not None:
            lines.append(f"  {grows.verdict}: exponent {grows.exponent:.2f}{_knees(grows)}")
    lines.append("")
    lines.append(f"CPU of the whole process at the machine's fastest ({results.reference:.2f} µs a calibration turn).")
    return "\n".join(lines[1:])


def _knees(grows: Growth) -> str:
    return f", knees at {', '.join(f'{knee:,g}' for knee in grows.knees)}" if grows.knees else ""


def _line(row: Row) -> str:
    name = (TITLES.get(row.name) or row.name)[:30]
    if row.cost is None or row.rate is None:
        return f"{name:31}{row.failure}"[:WIDTH]
    span = f"{row.cost.least:.1f}..{row.cost.most:.1f}"
    lag = "" if row.lag_most_ms is None else f"≤ {row.lag_most_ms:g}"
    return f"{name:31}{row.cost.median:9.1f}{span:>14}{row.rate.median:10,.0f}{row.peak_mib:5.0f}{lag:>9}"


def save(results: Results, file: Path) -> None:
    """Readable by users and programs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def load(file: Path) -> Results:
    """What `save` wrote."""
    return msgspec.json.decode(file.read_bytes(), type=Results)
