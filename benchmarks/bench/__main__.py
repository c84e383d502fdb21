"""`make bench`: the indexer beside its peers, and how its cost grows, on the servers of the local stack."""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from activity_stack import Stack
from bench import plan, results
from bench.plan import Case
from bench.run import Run, Runner
from bench.servers import Servers, log_folder, versions


def main() -> None:
    """Measure, show, save."""
    asked = _arguments()
    size = plan.QUICK if asked.quick else plan.FULL
    if asked.rounds:
        size = plan.with_rounds(size, asked.rounds)
    try:
        cases = plan.chosen(list(plan.cases(size, before=asked.before is not None)), asked.only)
    except ValueError as error:
        sys.exit(f"bench: {error}")
    if asked.quick and not asked.only:
        cases = [case for case in cases if not case.part.startswith("growth-") or case.part == "growth-batch"]
    stack = Stack.load()
    stack.up()
    servers = Servers(stack, f"bench-{uuid.uuid4().hex[:8]}")
    started, runs = datetime.now(UTC), list[Run]()
    try:
        runner = Runner(servers, log_folder().resolve(), asked.before)
        try:
            for run in _all(runner, cases, size):
                runs.append(run)
        except KeyboardInterrupt:
            print("interrupted: what was measured so far", file=sys.stderr)
        finally:
            runner.close()
        found = results.Results(
            started.isoformat(timespec="seconds"),
            results.machine(versions(servers)),
            results.reference(runs),
            runs,
            [
                results.Topic(
                    made.events, made.bytes, round(made.cpu_microseconds, 1), round(made.events_per_second, 1)
                )
                for made in servers.all_published
            ],
        )
    finally:
        servers.close()
    if asked.json:
        results.save(found, asked.json)
    print(results.table(found))


def _all(runner: Runner, cases: Sequence[Case], size: plan.Size) -> Iterator[Run]:
    """Every case once, then every case again: what slows the machine for a while slows all of them."""
    work = [
        (number, case)
        for number in range(max(size.rounds, size.growth_rounds))
        for case in cases
        if number < (size.growth_rounds if case.part.startswith("growth-") else size.rounds)
    ]
    for at, (number, case) in enumerate(work, 1):
        began = time.monotonic()
        run = runner.run(case, number + 1)
        shown = run.failure or f"{run.microseconds:6.1f} µs/event {run.events_per_second:8,.0f}/s"
        print(
            f"[{at:3}/{len(work)}] {case.part:17} {case.name[:22]:22} {shown} ({time.monotonic() - began:.0f} s)",
            file=sys.stderr,
            flush=True,
        )
        yield run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, one round: three minutes")
    parser.add_argument(
        "--only",
        type=lambda text: [part for part in text.split(",") if part],
        default=[],
        help="parts or candidates by name or pattern, separated by commas",
    )
    parser.add_argument("--rounds", type=int, default=0, help="how often each case is measured")
    parser.add_argument(
        "--before",
        type=lambda text: Path(text).resolve(),
        help="checkout of an earlier commit to measure beside this one",
    )
    parser.add_argument("--json", type=Path, help="file that the runs are written to")
    return parser.parse_args()


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    main()
