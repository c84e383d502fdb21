"""What is measured: cases of several parts, each of a candidate, a load and a sink."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

Sink = Literal["blackhole", "elasticsearch"]

PARTITIONS: Final = 3


@dataclass(frozen=True, slots=True)
class Load:
    """The events of one topic: those of `activity-loadgen` with these options, of about 562 bytes each.

    `small` events have only the fields that an event must have, about 230 bytes.
    """

    count: int
    partitions: int = PARTITIONS
    options: tuple[str, ...] = ()
    small: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure, several times. A growth case has an amount `x` on its axis."""

    part: str
    name: str
    candidate: str
    load: Load
    sink: Sink = "blackhole"
    environment: tuple[tuple[str, str], ...] = ()
    warm: int = 20_000
    limit: float = 20.0
    x: float | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How long all of it may take."""

    events: int
    warm: int
    limit: float
    rounds: int
    indexed: int
    growth: int
    growth_rounds: int
    on_the_way: int


def with_choices(size: Size, rounds: int, events: int) -> Size:
    """The same with this many rounds, and this many events in the longest run; 0 leaves it as it is."""
    if rounds:
        size = replace(size, rounds=rounds, growth_rounds=rounds)
    return replace(size, on_the_way=events) if events else size


QUICK: Final = Size(100_000, 15_000, 5.0, 1, 20_000, 40_000, 1, 100_000)
FULL: Final = Size(400_000, 40_000, 15.0, 5, 60_000, 100_000, 3, 1_000_000)

INDEXER: Final = "indexer"
"""Default settings."""

BLACKHOLE: Final = (INDEXER, "indexer-1000", "naive", "tuned", "faststream", "quix", "prototype", "franz")
BEFORE: Final = ("before", "before-1000")
INDEXED: Final = ("limit", INDEXER, "indexer-1000")
MORE_INDEXED: Final = ("naive", "tuned", "franz")

BATCHES: Final = (10, 50, 100, 500, 1000, 5000)
PARTITION_COUNTS: Final = (1, 4, 16, 64, 256)
SIZES: Final = (230, 562, 1_024, 4_096, 16_384, 65_536)
SHARES: Final = (0, 5, 10, 25, 50)
SMALLEST: Final = 230
USUAL: Final = 562
BYTES: Final = 200_000_000
"""Of a topic with large events, at most."""


def cases(size: Size, *, before: bool = False) -> Iterator[Case]:
    """All parts, in the order in which they are measured; `before` has an earlier commit measured as well."""
    usual, earlier = Load(size.events), BEFORE if before else ()
    for name in BLACKHOLE + earlier:
        yield Case("blackhole", name, name, usual, warm=size.warm, limit=size.limit)
    written = Load(size.indexed)
    for name in INDEXED + earlier + (() if size.indexed == QUICK.indexed else MORE_INDEXED):
        yield Case("elasticsearch", name, name, written, "elasticsearch", warm=size.indexed // 6, limit=size.limit * 2)
    yield from _growth(size)


def _growth(size: Size) -> Iterator[Case]:
    base = Case("", "", INDEXER, Load(size.growth), warm=size.growth // 10, limit=size.limit * 4)
    yield replace(
        base,
        part="growth-events",
        name=f"{size.on_the_way:,} events",
        load=Load(size.on_the_way),
        limit=size.on_the_way / 1_000,
        warm=1_000,
        x=size.on_the_way,
    )
    for batch in BATCHES:
        chosen = (("CONSUMER_BATCH_SIZE", str(batch)),)
        yield replace(base, part="growth-batch", name=f"batches of {batch:,}", environment=chosen, x=batch)
    for batch in BATCHES:
        alone = (("CONSUMER_REQUEST_EVENTS", str(batch)),)
        yield replace(base, part="growth-request", name=f"requests of {batch:,}", environment=alone, x=batch)
    for partitions in PARTITION_COUNTS:
        load = Load(size.growth, partitions)
        yield replace(base, part="growth-partitions", name=f"{partitions} partitions", load=load, x=partitions)
    for length in SIZES:
        count = min(size.growth, BYTES // length)
        options = ("--payload-bytes", str(length)) if length > USUAL else ()
        load = Load(count, options=options, small=length == SMALLEST)
        yield replace(base, part="growth-size", name=f"{length:,} bytes", load=load, warm=count // 10, x=length)
    for share in SHARES:
        load = Load(size.growth, options=("--duplicate-ratio", str(share / 100)) if share else ())
        yield replace(base, part="growth-duplicates", name=f"{share} % sent twice", load=load, x=share)
    for share in SHARES:
        load = Load(size.growth, options=("--invalid-ratio", str(share / 100)) if share else ())
        yield replace(base, part="growth-invalid", name=f"{share} % invalid as well", load=load, x=share)
    for share in SHARES:
        load = Load(size.indexed, options=("--update-ratio", "1", "--tie-ratio", str(share / 100)))
        yield replace(
            base,
            part="growth-ties",
            name=f"{share} % of updates tie",
            load=load,
            sink="elasticsearch",
            warm=size.indexed // 10,
            x=share,
        )


def chosen(all_cases: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """The cases whose part or candidate one of the patterns names.

    Raises ValueError for a pattern that fits nothing.
    """
    parts = dict.fromkeys(case.part for case in all_cases)
    names = dict.fromkeys(case.candidate for case in all_cases)
    for pattern in only:
        if not any(_fits(case, pattern) for case in all_cases):
            raise ValueError(f"nothing is named {pattern!r}; parts: {', '.join(parts)}; candidates: {', '.join(names)}")
    wanted = {case.part for case in all_cases if any(fnmatch.fnmatchcase(case.part, pattern) for pattern in only)}
    programs = [pattern for pattern in only if not any(fnmatch.fnmatchcase(case.part, pattern) for case in all_cases)]
    return [
        case
        for case in all_cases
        if (not wanted or case.part in wanted)
        and (not programs or any(fnmatch.fnmatchcase(case.candidate, pattern) for pattern in programs))
    ]


def _fits(case: Case, pattern: str) -> bool:
    return fnmatch.fnmatchcase(case.part, pattern) or fnmatch.fnmatchcase(case.candidate, pattern)
