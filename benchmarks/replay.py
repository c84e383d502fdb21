"""What `dead-letters replay` costs: `PYTHONPATH=tests python benchmarks/replay.py [dead letters] [runs] [checkout]...`.

Dead letters of valid events are written to a topic of the local stack (`make stack-up`), as an indexer writes them, and
each run sends all of them again, in a process of its own: by this checkout, and by the others that are named, in turn.
Seconds are those of the whole command, from its start to its end; µs are CPU time of its process for a dead letter.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers, environment

from activity_indexer.adapters.kafka.dead_letters.topic import DeadLetterTopic
from activity_indexer.adapters.kafka.records.batches import FetchedRecord
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.errors import DocumentError
from activity_indexer.settings import KafkaSettings
from activity_loadgen.generate import generate
from activity_loadgen.options import LoadOptions
from activity_stack import Stack

HERE: Final = Path(__file__).resolve().parents[1]
CHUNK: Final = 2000
REASON: Final = "failed to parse field [metadata.amount] of type [long] in document with id 'x'. Preview: 'one'"


@dataclass(frozen=True, slots=True)
class Run:
    """Of one command: seconds of the whole, until its plan and until its end, and CPU seconds."""

    whole: float
    planned: float
    cpu: float


async def bury(place: Place, number: int) -> None:
    """Write dead letters of as many valid events."""
    topic = DeadLetterTopic(KafkaSettings(bootstrap_servers=place.servers.kafka, transactions_topic=place.name))
    failure = Failure(DocumentError("document_parsing_exception", REASON), 1, time.time(), time.time(), "f" * 32)
    records = []
    for at, event in enumerate(
        generate(LoadOptions(count=number, update_ratio=0.0, users=1000, user_skew=0.0, seed=1))
    ):
        headers = (("traceparent", b"00-%032x-%016x-00" % (at + 1, at + 1)),)
        origin = FetchedRecord(
            place.name, at % place.partitions, at, 1_704_110_400_000, event.key, event.value, headers
        )
        records.append(dead_letter(origin, failure))
    for at in range(0, len(records), CHUNK):
        unsent, problem = await topic.send(records[at : at + CHUNK])
        if unsent:
            raise RuntimeError(problem)
    await topic.stop()


async def measured(place: Place, checkout: Path, replay_id: str, number: int) -> Run:
    """One replay of all, in a process of its own."""
    command = [str(checkout / ".venv/bin/activity-indexer"), "dead-letters", "replay", "--json", "--no-wait"]
    before, started = os.times(), time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command,
        "--id",
        replay_id,
        env={**environment(place, {}), "PYTHONDONTWRITEBYTECODE": ""},
        stdout=asyncio.subprocess.PIPE,
    )
    planned, last = 0.0, {}
    while process.stdout and (line := await process.stdout.readline()):
        last = json.loads(line)
        if last["kind"] == "plan":
            planned = time.monotonic() - started
    await process.wait()
    if last.get("sent") != number:
        raise RuntimeError(f"expected {number} events to be sent, got {last}")
    whole, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(whole, planned, cpu)


async def main(number: int, runs: int, checkouts: Sequence[Path]) -> None:
    """Measure, and print a line for each run and one for each checkout."""
    found: defaultdict[Path, list[Run]] = defaultdict(list)
    async with Place.on(Servers(Stack.load()), partitions=6) as place:
        with tempfile.TemporaryDirectory() as folder:
            indexer = Indexer(place, Path(folder) / "log", {})
            await indexer.ready()
            indexer.terminate()
        await bury(place, number)
        for at in range(runs):
            for checkout in checkouts:
                run = await measured(place, checkout, f"{checkout.name}-{at}", number)
                found[checkout].append(run)
                print(f"{checkout.name}: {run.whole:.1f} s, planned after {run.planned:.1f} s, CPU {run.cpu:.1f} s")
        await place.admin.delete_topics([f"{place.dead_letter_topic}.parked"])
    for checkout, each in found.items():
        whole, cpu = (statistics.median(values) for values in zip(*((run.whole, run.cpu) for run in each), strict=True))
        best = min(run.whole for run in each)
        print(
            f"{checkout.name}: {number / whole:,.0f} events/s (best {number / best:,.0f}), "
            f"{cpu / number * 1e6:.1f} µs an event"
        )


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:3]]
    asyncio.run(main(*(numbers + [100_000, 3][len(numbers) :]), [HERE, *map(Path, sys.argv[3:])]))  # type: ignore[misc]
