"""What a seed stands for: which faults, when and for how long. Pure, so that a seed means the same everywhere."""

import random
from dataclasses import dataclass

from chaos.faults import BY_NAME, FAULTS, Fault

FIRST = 1.0
"""Seconds of peace at the beginning."""

LEAST_SHARE = 1 / 3
"""How much of a fault lies within the load at least; what is healed after the load shows how fast the rest is done."""

MOST = 6
"""Faults in a mixture at most."""

TRIES = 200


@dataclass(frozen=True)
class Step:
    """A fault that begins and is healed this many seconds after the start; `seed` is for what it chooses itself."""

    fault: Fault
    begins: float
    lasts: float
    seed: int

    @property
    def ends(self) -> float:
        """When it is healed."""
        return self.begins + self.lasts


@dataclass(frozen=True)
class Plan:
    """One run: `indexers` processes, `partitions` at first, and the steps in the order of their beginnings."""

    seed: int
    indexers: int
    partitions: int
    steps: tuple[Step, ...]

    @property
    def names(self) -> list[str]:
        """The faults' names in order."""
        return [step.fault.name for step in self.steps]


def plan(seed: int, duration: float) -> Plan:
    """The plan of a seed for a load of this many seconds.

    The first seeds have one fault each, twice if there is time; all others a mixture, in which faults may overlap
    unless they touch the same thing.
    """
    rng = random.Random(f"plan {seed}")  # noqa: S311 - reproducible, not secret
    chosen = [FAULTS[seed]] * 2 if seed < len(FAULTS) else rng.choices(FAULTS, k=rng.randint(3, MOST))
    return Plan(seed, rng.randint(2, 4), rng.randint(2, 6), _placed(rng, chosen, duration))


def plan_of(names: list[str], seed: int, duration: float) -> Plan:
    """A plan of these faults."""
    rng = random.Random(f"plan {seed}")  # noqa: S311
    chosen = [BY_NAME[name] for name in names]
    return Plan(seed, rng.randint(2, 4), rng.randint(2, 6), _placed(rng, chosen, duration))


def _placed(rng: random.Random, chosen: list[Fault], duration: float) -> tuple[Step, ...]:
    steps: list[Step] = []
    for fault in chosen:
        for _ in range(TRIES):
            lasts = rng.uniform(*fault.lasts)
            begins = rng.uniform(FIRST, max(FIRST, duration - LEAST_SHARE * lasts))
            step = Step(fault, round(begins, 2), round(lasts, 2), rng.getrandbits(32))
            if not any(_collide(step, other) for other in steps):
                steps.append(step)
                break
    return tuple(sorted(steps, key=lambda step: step.begins))


def _collide(one: Step, other: Step) -> bool:
    return one.fault.touches == other.fault.touches and one.begins < other.ends and other.begins < one.ends
