"""A storm of invalid events: what a dead letter costs, and how long valid events take meanwhile.

`PYTHONPATH=benchmarks python benchmarks/storm.py` on the servers of the local stack; Elasticsearch is a blackhole. One
indexer runs with default settings. Valid events come at a steady rate; in every other window as many invalid ones come
as well. The latency of a valid event is the time from its publication to the bulk request that has it. What is shown
are ratios of windows beside each other: what slows the machine for a while slows both.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import re
import statistics
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

import uvloop
from aiokafka import AIOKafkaProducer

from activity_indexer.adapters.kafka.records.batches import FetchedRecord
from activity_indexer.errors import EventError
from activity_indexer.pipeline.decode import decode_record
from activity_loadgen.generate import generate
from activity_loadgen.options import LoadOptions
from activity_stack import Stack
from bench import meter
from bench.candidates import candidate
from bench.plan import Load
from bench.run import free_port
from bench.servers import Servers, log_folder
from bench.sink import serve

TICK: Final = 0.005
"""Seconds between two sends."""

SETTLE: Final = 1.0
"""Seconds at the beginning of a window that do not count: batches of the last one are still under way."""

IDS: Final = re.compile(rb'"_id":"(s\d+)"')
VALID: Final = (
    '{"event_type":"transaction.created","timestamp":"%s","source":"bench","transaction":{"id":"s%d","user_id":"u%d",'
    '"transaction_type":"card","product":"Card","status":"completed","currency":"EUR","amount":12.5,"created_at":"%s",'
    '"metadata":{"merchant_name":"Corner Shop","card_last_four":"4242","note":"%s"}}}'
)


@dataclass(slots=True)
class Arrivals:
    """Takes the bodies of bulk requests as the sink records them, and notes how long their documents took (seconds)."""

    sent: dict[bytes, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def write(self, body: bytes) -> int:
        """A bulk request has arrived."""
        now = time.monotonic()
        for found in IDS.findall(body):
            if (sent := self.sent.pop(found, None)) is not None:
                self.latencies.append(now - sent)
        return len(body)


@dataclass(frozen=True, slots=True)
class Window:
    """What a window showed: latencies in seconds, CPU seconds of the indexer, and the events of both kinds."""

    latencies: list[float]
    cpu: float
    valid: int
    invalid: int

    def quantile(self, share: float) -> float:
        """Of the latencies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def invalid_values() -> Iterator[bytes]:
    """Invalid events of all kinds that `activity-loadgen` knows, again and again."""
    found = generate(LoadOptions(count=2_000, invalid_ratio=1.0, seed=7))
    values = [event.value for event in found if event.value and _is_invalid(event.value)]
    return itertools.cycle(values)


def _is_invalid(value: bytes) -> bool:
    return isinstance(decode_record(FetchedRecord("t", 0, 0, 0, None, value, ()), 1 << 60), EventError)


class Publisher:
    """Publishes at a rate, a few events at a time."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, arrivals: Arrivals) -> None:
        self._producer = producer
        self._topic = topic
        self._arrivals = arrivals
        self._number = 0
        self._invalid = invalid_values()

    async def publish(self, seconds: float, rate: float, *, storm: bool) -> int:
        """Publish valid events at this rate, with a storm as many invalid ones; returns the number of valid ones."""
        began = time.monotonic()
        count = 0
        while (passed := time.monotonic() - began) < seconds:
            for _ in range(count, int(passed * rate)):
                count += 1
                self._number += 1
                await self._send_valid()
                if storm:
                    await self._producer.send(self._topic, next(self._invalid), key=b"u%d" % (self._number % 500))
            await asyncio.sleep(TICK)
        return count

    async def _send_valid(self) -> None:
        number = self._number
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        value = VALID % (now, number, number % 500, now, "x" * 200)
        self._arrivals.sent[b"s%d" % number] = time.monotonic()
        await self._producer.send(self._topic, value.encode(), key=b"u%d" % (number % 500))


async def measured(chosen: argparse.Namespace, servers: Servers, topic: str) -> list[tuple[Window, Window]]:
    """Windows in pairs: without a storm, and with one."""
    arrivals, port = Arrivals(), free_port()
    sink = asyncio.create_task(serve(port, servers.elasticsearch, cast("BinaryIO", arrivals)))
    program = candidate("before" if chosen.before else "indexer", Path(), chosen.before)
    environment = {
        **servers.environment,
        **program.environment,
        "ELASTICSEARCH_URL": f"http://127.0.0.1:{port}",
        "ELASTICSEARCH_INDEX": f"{servers.name}-blackhole",
        "KAFKA_TRANSACTIONS_TOPIC": topic,
        "KAFKA_CONSUMER_GROUP": servers.name,
        "REDIS_KEY_PREFIX": servers.name,
        "CONSUMER_HTTP_PORT": str(free_port()),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
    }
    pairs: list[tuple[Window, Window]] = []
    with (log_folder() / "storm.log").open("wb") as log:
        process = subprocess.Popen(program.command, stdout=log, stderr=log, env=environment)  # noqa: ASYNC220, S603
        try:
            async with AIOKafkaProducer(bootstrap_servers=servers.kafka, linger_ms=1) as producer:
                publisher = Publisher(producer, topic, arrivals)

                async def window(*, storm: bool) -> Window:
                    await publisher.publish(SETTLE, chosen.rate, storm=storm)
                    arrivals.latencies.clear()
                    used = meter.usage(process.pid).total
                    valid = await publisher.publish(chosen.seconds, chosen.rate, storm=storm)
                    cpu = meter.usage(process.pid).total - used
                    return Window(list(arrivals.latencies), cpu, valid, valid if storm else 0)

                while not arrivals.latencies:  # the indexer starts
                    await publisher.publish(0.5, chosen.rate, storm=True)
                await publisher.publish(5 * SETTLE, chosen.rate, storm=True)
                for number in range(chosen.rounds):
                    first = await window(storm=bool(number % 2))
                    second = await window(storm=not number % 2)
                    pairs.append((second, first) if number % 2 else (first, second))
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)
            sink.cancel()
            with suppress(asyncio.CancelledError):
                await sink
    return pairs


def show(pairs: list[tuple[Window, Window]]) -> None:
    """Each pair, and the medians."""
    print(f"{'':8}{'p50 ms':>18}{'p99 ms':>18}{'p99 ratio':>11}{'µs a valid event':>18}{'a dead letter':>15}")
    rows: list[list[float]] = []
    for calm, storm in pairs:
        cost = calm.cpu / calm.valid * 1e6
        letter = (storm.cpu * 1e6 - storm.valid * cost) / storm.invalid
        quantiles = [each.quantile(share) * 1e3 for share in (0.5, 0.99) for each in (calm, storm)]
        rows.append([*quantiles, quantiles[3] / quantiles[2], cost, letter])
    for name, row in [*((str(at), row) for at, row in enumerate(rows, 1)), ("median", _medians(rows))]:
        p50, p50_storm, p99, p99_storm, ratio, cost, letter = row
        print(
            f"{name:8}{f'{p50:.1f} -> {p50_storm:.1f}':>18}{f'{p99:.1f} -> {p99_storm:.1f}':>18}{ratio:>11.2f}"
            f"{cost:>18.1f}{letter:>15.1f}"
        )


def _medians(rows: list[list[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1_500, help="valid events a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a window")
    parser.add_argument("--rounds", type=int, default=8, help="pairs of windows")
    parser.add_argument("--before", type=lambda text: Path(text).resolve(), help="an earlier checkout, in its place")
    chosen = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[1])
    servers = Servers(Stack.load(), f"bench-storm-{uuid.uuid4().hex[:8]}")
    try:
        topic = servers.published(Load(100)).topic
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            show(runner.run(measured(chosen, servers, topic)))
    finally:
        servers.close()


if __name__ == "__main__":
    main()
