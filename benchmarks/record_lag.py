"""Records how a real group keeps up with real load: `PYTHONPATH=tests python benchmarks/record_lag.py [shape]...`.

For each shape load generators publish to a topic of the local stack (`make stack-up`) and an indexer consumes it. Each
second the offsets that were published and committed are noted, in benchmarks/traces/SHAPE.json, which
benchmarks/lag_policy.py and a unit test play through.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers

from activity_stack import Stack

PARTITIONS: Final = 12
SECONDS: Final = 180
USERS: Final = 240
READY_SECONDS: Final = 120.0
FOLDER: Final = Path(__file__).parent / "traces"


@dataclass(frozen=True)
class Layer:
    """A load generator: it begins and ends this many seconds after the recording, and publishes this many events/s."""

    begin: float
    end: float
    rate: float


def shapes() -> dict[str, Sequence[Layer]]:
    """Loads as topics have them; what runs at a time adds up."""
    hill = [Layer(15.0 * step, SECONDS - 15.0 * step, 120) for step in range(1, 6)]
    return {
        "calm": [Layer(0, SECONDS, 60)],
        "ramp": [Layer(0, SECONDS, 40), *(Layer(25.0 * step, SECONDS, 90) for step in range(1, 7))],
        "burst": [Layer(0, SECONDS, 80), Layer(60, 85, 800)],
        "on-off": [Layer(20.0 * step, 20.0 * step + 10, 450) for step in range(9)],
        "night-day": [Layer(0, SECONDS, 30), *hill],
    }


@dataclass
class Trace:
    """Running totals of all partitions at each look; `seconds` is the time since the first."""

    seconds: list[float] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)

    def text(self, name: str) -> str:
        """JSON, a line for each list."""
        lists = {"seconds": self.seconds, "published": self.published, "committed": self.committed}
        parts = [f'"name": {json.dumps(name)}', *(f'"{key}": {json.dumps(value)}' for key, value in lists.items())]
        return "{\n  " + ",\n  ".join(parts) + "\n}\n"


async def generate(place: Place, layer: Layer) -> None:
    """Runs a load generator at its time."""
    await asyncio.sleep(layer.begin)
    options = {
        "--kafka-servers": place.servers.kafka,
        "--topic": place.name,
        "--rate": str(layer.rate),
        "--duration": str(layer.end - layer.begin),
        "--users": str(USERS),
        "--user-skew": "0",
    }
    words = [word for option in options.items() for word in option]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "activity_loadgen",
        *words,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        if await process.wait():
            raise RuntimeError(f"a load generator ended with {process.returncode}")
    finally:
        if process.returncode is None:
            process.terminate()


@asynccontextmanager
async def looking(place: Place) -> AsyncIterator[AIOKafkaConsumer]:
    """A user who may ask for offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def watch(place: Place, consumer: AIOKafkaConsumer) -> Trace:
    """Looks once a second."""
    trace, wanted = Trace(), [TopicPartition(place.name, number) for number in range(PARTITIONS)]
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < SECONDS:
        commits = await place.admin.list_consumer_group_offsets(place.group, partitions=wanted)
        ends = await consumer.end_offsets(wanted)
        trace.seconds.append(round(now, 1))
        trace.published.append(sum(ends.values()))
        trace.committed.append(sum(max(0, commits[partition].offset) for partition in wanted))
        await asyncio.sleep(max(0.0, len(trace.seconds) - (time.monotonic() - begun)))
    return trace


async def record(servers: Servers, layers: Sequence[Layer], log: Path) -> Trace:
    """One recording, on a topic of its own."""
    async with Place.on(servers, PARTITIONS) as place:
        indexer = Indexer(place, log, {})
        try:
            await indexer.ready(READY_SECONDS)
            async with looking(place) as consumer, asyncio.TaskGroup() as group:
                watching = group.create_task(watch(place, consumer))
                for layer in layers:
                    group.create_task(generate(place, layer))
            return watching.result()
        finally:
            indexer.end()


async def main(names: Sequence[str]) -> None:
    """Records these shapes, one after the other."""
    servers = Servers(Stack.load())
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            trace = await record(servers, shapes()[name], Path(folder, f"{name}.log"))
            (FOLDER / f"{name}.json").write_text(trace.text(name), "utf-8")
            lag = max(p - c for p, c in zip(trace.published, trace.committed, strict=True))
            print(
                f"{name}: {trace.published[-1]} events, {trace.committed[-1]} committed, longest lag {lag}", flush=True
            )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(shapes())))
