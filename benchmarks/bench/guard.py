"""Guards the cost of the hot path: what an event costs in turns of a calibration loop, against a kept baseline.

`python -m bench.guard` checks, `--write` renews the baseline (`make bench-baseline`), `--json` prints one reading.

One reading is a process of its own, so that neither coverage nor another test has a part in it. It runs the calibration
loop and the hot path (bytes to bulk body and back to settled offsets, without servers) in turn, in slices of a few
milliseconds, by the CPU clock of its thread. Each slice of the one is divided by that of the other beside it, since a
slower core or a shared cache slows both, and the lower quartile of these shares is the reading: a slice that a
neighbour disturbed is not among them. A cost that is too high must be too high in every one of several processes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench import calibration
from bench.meter import processor_name
from bench.numbers import quantile

ROOT: Final = Path(__file__).resolve().parents[2]
BASELINE: Final = ROOT / "benchmarks" / "guard.json"
ALLOWED: Final = 1.15
"""Of the baseline, in every reading: the state of a busy machine alone moves readings by up to 12 %."""

TRIES: Final = 8
PAUSE: Final = 2.0
"""Processes that must all find a cost above the limit, and seconds between them: what disturbs one passes."""

WRITTEN_FROM: Final = 15
SLICES: Final = 120
EVENTS: Final = 200
"""Of one slice."""

CALIBRATIONS: Final = 3
SCATTERED: Final = 6000
"""Objects that each of them looks at: the hot path, too, suffers from neighbours that use the same cache."""

LOWER: Final = 0.25

SIZES: Final = {"batches of 10": 10, "batches of 200": 200}


class Baseline(msgspec.Struct, frozen=True):
    """Turns of the calibration loop that an event costs, and where that was measured."""

    python: str
    processor: str
    turns: dict[str, float]
    spread: dict[str, float]


def reading(extra: float = 0.0) -> dict[str, float]:
    """Turns of the calibration loop that an event costs, in this process.

    `extra` adds this share of events that are not counted: the test of the guard itself.
    """
    import hot_path  # noqa: PLC0415 - the process that only compares needs none of it
    from activity_indexer.enrichment.registry import load_enrichments  # noqa: PLC0415 - as above

    records = hot_path.records(round(EVENTS * (1 + extra)))
    enricher, loop = load_enrichments(), asyncio.new_event_loop()
    shares: dict[str, list[float]] = {name: [] for name in SIZES}
    scattered = [bytes(40 + at % 80) for at in range(SCATTERED)]
    random.Random(7).shuffle(scattered)  # noqa: S311 - no secret

    def events(size: int) -> float:
        work, batch = hot_path.processor(enricher), len(records) if size == EVENTS else size
        return calibration.seconds(lambda: loop.run_until_complete(hot_path.whole(work, records, batch))) / EVENTS

    def calibrate() -> None:
        for _ in range(CALIBRATIONS):
            calibration.work()
            sum(map(len, scattered))

    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for at in range(SLICES + 2):
            if at % 20 == 0:
                gc.collect()
            turn = calibration.seconds(calibrate) / calibration.TURNS / CALIBRATIONS
            found = {name: events(size) / turn for name, size in SIZES.items()}
            if at >= 2:  # the first ones fill caches
                for name, share in found.items():
                    shares[name].append(share)
    finally:
        gc.enable()
        loop.close()
    return {name: quantile(taken, LOWER) for name, taken in shares.items()}


def in_a_process(extra: float = 0.0) -> dict[str, float]:
    """One reading of a process of its own, without what a test runner has put into the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}
    environment |= {"PYTHONPATH": str(ROOT / "benchmarks"), "PYTHONHASHSEED": "0"}
    done = subprocess.run(  # noqa: S603 - this module
        [sys.executable, "-m", "bench.guard", "--json", "--extra", str(extra)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the reading ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def several(extra: float = 0.0) -> Iterator[dict[str, float]]:
    """Readings of TRIES processes, as far as they are asked for."""
    for at in range(TRIES):
        time.sleep(PAUSE if at else 0)
        yield in_a_process(extra)


def grown(found: Mapping[str, float], baseline: Baseline) -> dict[str, float]:
    """The costs above the limit, as shares of the baseline's."""
    shares = {name: found[name] / turns for name, turns in baseline.turns.items()}
    return {name: share for name, share in shares.items() if share > ALLOWED}


def check(baseline: Baseline, readings: Iterable[Mapping[str, float]]) -> str:
    """What is wrong; empty when nothing is. Stops at the first reading that is good."""
    least: dict[str, float] = {}
    for found in readings:
        high = grown(found, baseline)
        if not high:
            return ""
        least = {name: min(share, least.get(name, share)) for name, share in high.items()}
    rise = ", ".join(f"{name}: {share - 1:+.0%}" for name, share in least.items())
    return (
        f"an event costs more CPU than it did ({rise}; at most {ALLOWED - 1:+.0%} is allowed). Find what became dearer"
        " (`python benchmarks/hot_path.py` shows the stages); if it is worth its price, `make bench-baseline`."
    )


def comparable(baseline: Baseline) -> str:
    """Why the baseline says nothing here; empty when it does: other caches move the cost by more than is allowed."""
    kept, here = (baseline.python, baseline.processor), (interpreter(), processor_name())
    return "" if kept == here else f"the baseline is of {' on '.join(kept)}, this is {' on '.join(here)}"


def interpreter() -> str:
    """Costs of one minor version are not those of another."""
    return f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}"


def load(file: Path = BASELINE) -> Baseline:
    """The kept one."""
    return msgspec.json.decode(file.read_bytes(), type=Baseline)


def written(readings: list[dict[str, float]], processor: str) -> Baseline:
    """The baseline that readings amount to: their medians, and how far apart they were."""
    turns = {name: [found[name] for found in readings] for name in SIZES}
    return Baseline(
        interpreter(),
        processor,
        {name: round(statistics.median(values), 3) for name, values in turns.items()},
        {name: round((max(values) - min(values)) / statistics.median(values), 3) for name, values in turns.items()},
    )


def _renew() -> None:
    readings = []
    for at in range(WRITTEN_FROM):
        readings.append(in_a_process())
        print(f"[{at + 1:2}/{WRITTEN_FROM}]", *(f"{name}: {turns:.3f}" for name, turns in readings[-1].items()))
    renewed = written(readings, processor_name())
    BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(renewed), indent=1) + b"\n")
    print(f"{BASELINE.relative_to(ROOT)}: {renewed.turns} turns an event, spread {renewed.spread}")


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--extra", type=float, default=0.0)
    asked = parser.parse_args()
    if asked.json:
        print(json.dumps(reading(asked.extra)))
    elif asked.write:
        _renew()
    else:
        baseline, started = load(), time.monotonic()
        wrong = comparable(baseline) or check(baseline, several(asked.extra))
        print(wrong or f"the hot path costs what it did ({time.monotonic() - started:.0f} s)")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
