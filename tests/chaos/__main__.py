"""The chaos runs: `python -m chaos --seeds 0-59`, with the folder `tests` on Python's path."""

import argparse
import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from chaos import small_disk, table
from chaos.bounds import HEAD, elasticsearch_unavailable
from chaos.outcome import Outcome, read
from chaos.run import Load, run
from chaos.schedule import Plan, plan, plan_of

from activity_stack import Stack

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".stack" / "chaos"
PORT_OFFSET = 2700
RESULTS = HOME / "results.jsonl"
LOGS = HOME / "runs"
"""The indexers' logs of each seed; those of a seed that broke no promise are removed."""


def main() -> None:
    """Run the seeds, and exit with 1 when a promise was broken."""
    asked = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it reports every fault, many times
    if asked.summary:
        sys.stdout.write(table.summary(read(asked.results)) + "\n")
        return
    stack = Stack.load(asked.home, asked.port_offset)
    stack.up()
    if asked.waiting:
        _show_bounds(stack, asked.waiting)
        return
    small = small_disk.mount(stack)
    sys.stdout.write(
        f"PostgreSQL's disk is {'a small tmpfs' if small else 'not small: no tmpfs can be mounted here'}\n"
    )
    try:
        outcomes = list(_run_all(stack, asked))
    finally:
        small_disk.unmount(stack)
        stack.down()
    sys.stdout.write("\n" + table.summary(outcomes) + "\n")
    sys.exit(0 if all(outcome.good for outcome in outcomes) else 1)


def _show_bounds(stack: Stack, events: int) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / "waiting.log").unlink(missing_ok=True)
    try:
        found = asyncio.run(elasticsearch_unavailable(stack, events, LOGS / "waiting.log", 3600.0, {}))
    finally:
        stack.down()
    sys.stdout.write(f"{HEAD}\n{found}\n")


def _run_all(stack: Stack, asked: argparse.Namespace) -> Iterator[Outcome]:
    load = Load(asked.events, asked.rate)
    until = time.monotonic() + asked.minutes * 60
    for seed in _seeds(asked.seeds):
        if time.monotonic() > until:
            return
        chosen: Plan = (
            plan_of(asked.faults.split(","), seed, load.duration) if asked.faults else plan(seed, load.duration)
        )
        folder = LOGS / f"seed-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        outcome = asyncio.run(run(stack, chosen, load, folder))
        if outcome.good and not asked.keep:
            shutil.rmtree(folder)
        stack.up()
        outcome.append_to(asked.results)
        sys.stdout.write(table.line(outcome) + "\n")
        for problem in [*outcome.problems, outcome.witnesses] if not outcome.good else []:
            sys.stdout.write(f"{problem}\n")
        sys.stdout.flush()
        yield outcome


def _seeds(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description="Break everything, and see whether a promise is broken.")
    parser.add_argument("--seeds", default="0-9", help="such as 7 or 0-59 or 3,5,9 (%(default)s)")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin no seed after this long (%(default)g)")
    parser.add_argument("--events", type=int, default=20_000, help="events of a seed, about (%(default)s)")
    parser.add_argument("--rate", type=float, default=800, help="events a second (%(default)g)")
    parser.add_argument("--faults", default="", help="these faults instead of the seed's, separated by commas")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where a line of JSON is added for each seed")
    parser.add_argument("--keep", action="store_true", help="keep the logs of good seeds too")
    parser.add_argument("--waiting", type=int, default=0, help="instead: let this many events wait for Elasticsearch")
    parser.add_argument("--home", type=Path, default=HOME, help="where the servers of this run live")
    parser.add_argument("--port-offset", type=int, default=PORT_OFFSET, help="their ports (%(default)s)")
    parser.add_argument("--summary", action="store_true", help="run nothing, and sum up the results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
