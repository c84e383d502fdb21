"""The policy Lag beside KEDA's formula on the same loads: `python benchmarks/lag_policy.py`.

The loads are drawn, and then recorded ones: what benchmarks/record_lag.py saw of a real topic (benchmarks/traces), each
recorded second played as STRETCH, so that the windows of minutes that both have matter.

A topic of 12 partitions, replicas of 100 events/s each; a change of their number stops the group for REBALANCE seconds.
KEDA's Kafka scaler gives the HPA ceil(lag / lagThreshold), at most the partitions; the HPA looks every 15 s, keeps what
is within 10 %, grows by 100 % or four pods at a time, and shrinks to the most that was wanted within five minutes.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

from activity_indexer_operator.indexer.decide import decide
from activity_indexer_operator.indexer.lag_policy import LagState, Sample, step
from activity_indexer_operator.indexer.spec import Mode, Policy, Scaling

PARTITIONS: Final = 12
CAPACITY: Final = 100.0
REBALANCE: Final = 4.0
SECOND: Final = 1.0
TRACES: Final = Path(__file__).parent / "traces"
STRETCH: Final = 20

Rate = Callable[[float], float]


@dataclass(frozen=True)
class Load:
    """Events per second published at a time, for how long, and when the indexer can settle nothing (an outage)."""

    name: str
    seconds: int
    rate: Rate
    outage: tuple[float, float] = (0.0, 0.0)


class Scaler(Protocol):
    """Says how many replicas there are to be; it is asked every `interval` seconds."""

    interval: float

    def wanted(self, at: float, produced: float, settled: float, replicas: int) -> int:
        """The number from now on."""
        ...


class Ours:
    """The policy Lag as the operator runs it."""

    interval = 10.0

    def __init__(self) -> None:
        self._state = LagState()
        self._scaling = Scaling(policy=Policy.LAG)

    def wanted(self, at: float, produced: float, settled: float, replicas: int) -> int:
        """See Scaler."""
        lag = int(produced) - int(settled)
        sample = Sample(at, int(produced), int(settled), lag, replicas, replicas, PARTITIONS)
        self._state, _, need = step(self._state, sample, self._scaling)
        decision = decide(Mode.ACTIVE, self._scaling, PARTITIONS, replicas, need)
        return replicas if decision.scale_to is None else decision.scale_to


@dataclass
class Keda:
    """KEDA's formula, and the HPA's arithmetic with its defaults."""

    threshold: int
    interval: float = 15.0
    wants: list[tuple[float, int]] = field(default_factory=list)

    def wanted(self, at: float, produced: float, settled: float, replicas: int) -> int:
        """See Scaler."""
        metric = min(produced - settled, PARTITIONS * self.threshold)
        ratio = metric / self.threshold / replicas
        want = replicas if abs(ratio - 1) <= 0.1 else math.ceil(metric / self.threshold)
        self.wants = [*((then, n) for then, n in self.wants if then > at - 300), (at, max(1, want))]
        most = max(n for _, n in self.wants)
        if want > replicas:
            return min(want, max(replicas * 2, replicas + 4), PARTITIONS)
        return min(replicas, most)


@dataclass(frozen=True)
class Outcome:
    """Longest delay of an event in seconds of production, changes of the group, and replica-hours."""

    delay: float
    changes: int
    hours: float


def play(load: Load, scaler: Scaler, replicas: int = 2) -> Outcome:
    """Plays a load through, second by second."""
    produced, settled, stopped_until = 0.0, 0.0, 0.0
    history, delay = [replicas], 0.0
    arrivals: list[float] = []
    for second in range(load.seconds):
        at = float(second)
        produced += load.rate(at) * SECOND
        arrivals.append(produced)
        if at >= stopped_until and not load.outage[0] <= at < load.outage[1]:
            held = -(-PARTITIONS // replicas)
            settled = min(produced, settled + CAPACITY * PARTITIONS / held * SECOND)
        delay = max(delay, _age(arrivals, settled))
        if second and second % scaler.interval == 0:
            wanted = scaler.wanted(at, produced, settled, replicas)
            stopped_until = at + REBALANCE if wanted != replicas else stopped_until
            replicas = wanted
        history.append(replicas)
    return Outcome(delay, sum(a != b for a, b in pairwise(history)), sum(history) / 3600)


def _age(arrivals: list[float], settled: float) -> float:
    """How long ago the oldest event that is not settled was published."""
    for back, published in enumerate(reversed(arrivals)):
        if published <= settled:
            return float(back)
    return float(len(arrivals))


def loads() -> list[Load]:
    """Shapes that topics have."""
    return [
        Load("steady 350/s", 3600, lambda _: 350.0),
        Load("day: 50 to 650/s in two hours", 7200, lambda at: 350 - 300 * math.cos(at / 7200 * 2 * math.pi)),
        Load("burst: 150/s, 1000/s for five minutes", 3600, lambda at: 1000.0 if 900 <= at < 1200 else 150.0),
        Load("sawtooth: 100 and 500/s, two minutes each", 3600, lambda at: 500.0 if at // 120 % 2 else 100.0),
        Load("a dip: 350/s, none for two minutes", 3600, lambda at: 0.0 if 1800 <= at < 1920 else 350.0),
        Load("outage: 350/s, nothing settled for ten minutes", 5400, lambda _: 350.0, (1800, 2400)),
        Load("trickle 5/s", 3600, lambda _: 5.0),
    ]


def recorded() -> list[Load]:
    """What was recorded: events as they came, at the rate at which they came, but for STRETCH times as long."""
    traces = [json.loads(path.read_text("utf-8")) for path in sorted(TRACES.glob("*.json"))]
    return [
        Load(
            f"recorded: {trace['name']}",
            int(trace["seconds"][-1] * STRETCH),
            _rate(trace["seconds"], trace["published"]),
        )
        for trace in traces
    ]


def _rate(seconds: list[float], published: list[int]) -> Rate:
    """Events/s between the two looks that a time is between."""

    def rate(at: float) -> float:
        after = min(max(1, bisect_right(seconds, at / STRETCH)), len(seconds) - 1)
        return (published[after] - published[after - 1]) / (seconds[after] - seconds[after - 1])

    return rate


def scalers() -> dict[str, Callable[[], Scaler]]:
    """Those that are compared."""
    return {
        "Lag": Ours,
        "KEDA, lagThreshold 10": lambda: Keda(10),
        "KEDA, lagThreshold 1000": lambda: Keda(1000),
        "KEDA, lagThreshold 10000": lambda: Keda(10_000),
    }


def table(of: Iterable[Load]) -> None:
    """Prints a line for each load and scaler."""
    print("| load | scaler | longest delay (s) | changes of the group | replica-hours |")
    print("| --- | --- | --- | --- | --- |")
    for load in of:
        for name, make in scalers().items():
            found = play(load, make())
            print(f"| {load.name} | {name} | {found.delay:.0f} | {found.changes} | {found.hours:.1f} |")


if __name__ == "__main__":
    table(loads())
    print()
    table(recorded())
