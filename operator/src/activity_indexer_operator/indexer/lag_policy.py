"""The policy Lag: as many replicas as the load calls for, measured; values in, values out, no I/O.

The slowest replica holds ceil(partitions / n) partitions, so only those n make a difference at which this number
changes; the policy uses no others, for each change of the group stops all of it for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as changed
from enum import StrEnum
from typing import Final

from activity_indexer_operator.indexer.spec import Scaling

RATE_WINDOW: Final = 60.0
"""Seconds over which rates are taken."""
RATE_SPAN_MIN: Final = 9.0
"""Seconds that the samples must span for a rate to be one."""
UTILIZATION: Final = 0.85
"""Share of its capacity that a replica is planned with."""
BUSY_SECONDS: Final = 2.0
"""Seconds of production: a group that is further behind has enough to do, and its rate is then its capacity."""
LEARNING: Final = 0.5
"""Weight of the newest measurement of capacity."""


class LagReason(StrEnum):
    """Reasons of the policy."""

    MEASURING = "Measuring"
    STALLED = "NotConsuming"
    LOAD = "LoadMeasured"
    KEEPING_UP = "KeepingUp"
    PROBING = "TryingFewer"
    STABILIZING = "Stabilizing"
    AWAKE = "EventsWaiting"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: running totals of events, the replicas that are set and those of them that are ready.

    `at` is in seconds of any steady clock.
    """

    at: float
    produced: int
    settled: int
    lag: int
    replicas: int
    ready: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Events per second; `capacity` of one replica is None until it was seen with enough to do."""

    produced: float
    settled: float
    capacity: float | None


@dataclass(frozen=True, slots=True)
class Need:
    """`replicas` is None while it is not known."""

    replicas: int | None
    reason: LagReason
    message: str


@dataclass(frozen=True, slots=True)
class LagState:
    """What the policy remembers of an object: samples, and (time, replicas) of what was wanted.

    A new one moves nothing before the windows are full.
    """

    samples: tuple[Sample, ...] = ()
    capacity: float | None = None
    wants: tuple[tuple[float, int], ...] = ()
    since: float | None = None


def step(state: LagState, sample: Sample, scaling: Scaling) -> tuple[LagState, Rates | None, Need]:
    """After one more sample: what is remembered, the rates, and the replicas that are needed now."""
    state = _remembered(state, sample)
    rates = _rates(state.samples)
    if rates is None:
        return state, None, Need(None, LagReason.MEASURING, "rates are known after two looks at the topic")
    state = changed(state, capacity=_capacity(state, rates))
    rates = changed(rates, capacity=state.capacity or scaling.lag.capacity_per_replica)
    wanted = _wanted(sample, rates, scaling)
    state = changed(state, wants=_wants(state, sample, wanted, scaling))
    return state, rates, _stabilized(state, sample, wanted, scaling)


def fewer(count: int, partitions: int) -> int:
    """The next lower count that makes a difference; 1 at least."""
    held = -(-partitions // max(1, count - 1))
    return -(-partitions // held)


def _remembered(state: LagState, sample: Sample) -> LagState:
    last = state.samples[-1] if state.samples else sample
    # Earlier samples of a topic that was created again, or that grew, do not count.
    broken = sample.produced < last.produced or sample.settled < last.settled or sample.partitions != last.partitions
    # A rate over a change of replicas is the rate of neither number.
    same = (last.replicas, last.ready) == (sample.replicas, sample.ready)
    kept = state.samples if same and not broken else ()
    recent = tuple(old for old in kept if sample.at - old.at <= RATE_WINDOW)
    since = sample.at if state.since is None or broken else state.since
    wants = () if broken else state.wants
    return changed(state, samples=(*recent, sample), since=since, wants=wants)


def _rates(samples: tuple[Sample, ...]) -> Rates | None:
    first, last = samples[0], samples[-1]
    span = last.at - first.at
    if span < RATE_SPAN_MIN:
        return None
    return Rates((last.produced - first.produced) / span, (last.settled - first.settled) / span, None)


def _capacity(state: LagState, rates: Rates) -> float | None:
    """Measured while there is enough to do at every look, so that the group and not the load sets the pace."""
    busy = all(old.lag > max(1.0, rates.produced * BUSY_SECONDS) for old in state.samples)
    ready = state.samples[-1].ready
    if not busy or ready == 0 or rates.settled <= 0:
        return state.capacity
    seen = rates.settled / ready
    return seen if state.capacity is None else state.capacity + LEARNING * (seen - state.capacity)


def _wanted(sample: Sample, rates: Rates, scaling: Scaling) -> Need:
    rate = rates.produced + sample.lag / scaling.lag.catch_up_seconds
    message = f"{rates.produced:.0f} events/s published, {rates.settled:.0f} settled, {sample.lag} waiting"
    if sample.replicas == 0:
        return Need(1, LagReason.AWAKE, message) if rate > 0 else Need(0, LagReason.LOAD, message)
    if sample.lag > 0 and rates.settled <= 0:
        return Need(sample.replicas, LagReason.STALLED, f"{message}: more replicas would not help")
    if rate == 0:
        return Need(0, LagReason.LOAD, message)
    if rates.capacity is None:
        return _without_capacity(sample, rates, message)
    held = int(rates.capacity * UTILIZATION * sample.partitions / rate)
    wanted = sample.partitions if held < 1 else -(-sample.partitions // min(held, sample.partitions))
    return Need(wanted, LagReason.LOAD, f"{message}, {rates.capacity:.0f} per replica at most")


def _without_capacity(sample: Sample, rates: Rates, message: str) -> Need:
    """The capacity of a replica is not known yet. Replicas that keep up may be too many: try fewer, and measure."""
    if sample.lag > rates.produced * BUSY_SECONDS:
        return Need(sample.replicas, LagReason.MEASURING, f"{message}: the capacity of a replica is being measured")
    lower = fewer(sample.replicas, sample.partitions)
    reason = LagReason.PROBING if lower < sample.replicas else LagReason.KEEPING_UP
    return Need(lower, reason, f"{message}: the capacity of a replica is not known")


def _wants(state: LagState, sample: Sample, wanted: Need, scaling: Scaling) -> tuple[tuple[float, int], ...]:
    most = min(scaling.max_replicas, -(-sample.partitions // scaling.partitions_per_replica))
    number = min(max(wanted.replicas or 0, scaling.min_replicas), most, sample.partitions)
    horizon = sample.at - max(scaling.stabilization.scale_up_seconds, scaling.stabilization.scale_down_seconds)
    return tuple(want for want in (*state.wants, (sample.at, number)) if want[0] >= horizon)


def _stabilized(state: LagState, sample: Sample, wanted: Need, scaling: Scaling) -> Need:
    """Up by the least, down by the most that was wanted throughout the window."""
    target, current = state.wants[-1][1], sample.replicas
    window = scaling.stabilization.scale_up_seconds if target > current else scaling.stabilization.scale_down_seconds
    within = [number for at, number in state.wants if at >= sample.at - window]
    full = sample.at - (sample.at if state.since is None else state.since) >= window
    number = current
    if full:
        number = max(current, min(within)) if target > current else min(current, max(within))
    return Need(number, wanted.reason if number == target else LagReason.STABILIZING, wanted.message)
