"""What tracing costs: whole batches with tracing off, and on with 0 %, 1 % and 100 % of the events sampled.

`python benchmarks/tracing.py [--events N] [--rounds N] [--json]`. Times are CPU times of the whole process, with the
thread that sends spans and a collector that takes everything unread. All cases take turns within one run, and each is
compared with the `off` of its own round: only the ratios mean anything on another machine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Final

from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.indexing import BulkWriter
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batcher
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds
from activity_indexer.ports import BulkReply, OutRecord, Stored
from activity_indexer.positions import Partition
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import Emit, Subscribers
from activity_indexer.settings import load_settings
from activity_indexer.telemetry.calls import Calls, MeasuredIndex
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.log_lines import LogLines
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.open_telemetry import OpenTelemetry
from activity_indexer.telemetry.problems import Problems
from activity_indexer.telemetry.progress import Progress
from activity_indexer.ties import OrderedWriter
from activity_loadgen.generate import generate
from activity_loadgen.options import LoadOptions

PLACE: Final = Partition("transactions", 0)
CASES: Final[dict[str, float | None]] = {"off": None, "0 %": 0.0, "1 %": 0.01, "100 %": 1.0}
"""The share of events whose producers sample them; None: tracing is off, and the events are those of 1 %."""


@dataclass(frozen=True, slots=True)
class Record:
    """As the client hands it out."""

    offset: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    topic: str = PLACE.topic
    partition: int = PLACE.partition
    key: bytes = b"user"
    timestamp: int = 1_700_000_000_000


@functools.cache
def _all_written(documents: int) -> BulkReply:
    items = b",".join([b'{"index":{"status":201}}'] * documents)
    return BulkReply(200, b'{"errors":false,"took":3,"items":[%b]}' % items)


class Nowhere:
    """Takes every document and every dead letter."""

    async def bulk(self, body: bytes) -> BulkReply:
        """All is well."""
        return _all_written(body.count(b"\n") // 2)

    async def read(self, _identifiers: Sequence[str]) -> dict[str, Stored]:
        """Nothing is kept."""
        return {}

    async def prepare(self) -> None:
        """Nothing to prepare."""

    async def send(self, _records: Sequence[OutRecord]) -> tuple[list[OutRecord], str]:
        """All are sent."""
        return [], ""


@contextmanager
def collector() -> Iterator[str]:
    """Takes everything and reads nothing of it; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Take it."""
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def records(count: int, ratio: float | None) -> list[Record]:
    """Events of a producer that samples this share of them."""
    load = LoadOptions(count=count, update_ratio=0.0, users=500, seed=7, start_us=1_700_000_000_000_000)
    dice = random.Random(7)  # noqa: S311 - reproducible, not secret
    share = 0.01 if ratio is None else ratio

    def header() -> tuple[tuple[str, bytes], ...]:
        flag = int(dice.random() < share)
        return (("traceparent", b"00-%032x-%016x-%02x" % (dice.getrandbits(128) | 1, dice.getrandbits(64) | 1, flag)),)

    values = [event.value for event in generate(load) if event.value is not None]
    return [Record(offset, value, header()) for offset, value in enumerate(values[:count])]


async def indexed(found: list[Record], batch: int, *, traced: bool) -> float:
    """Process all of it; CPU seconds, until the last span is sent."""
    os.environ["OTEL_SDK_DISABLED"] = str(not traced).lower()
    metrics = Metrics()
    health = Health(time.monotonic, 60)
    emit = Subscribers(metrics.indexer, Progress(health), Problems(health), LogLines())
    telemetry = OpenTelemetry(load_settings(), emit, metrics.registry)
    work = _processor(emit, telemetry)
    batcher = Batcher(batch, 1 << 26, 1, time.monotonic, max_records=batch)
    batcher.add({PLACE: found}, {PLACE: PartitionOffsets()})
    gc.collect()
    started = time.process_time()
    while cut := batcher.cut():
        await work.process(batcher.take(cut.records))
        await asyncio.sleep(0)
    await telemetry.stop()
    return time.process_time() - started


def _processor(emit: Emit, telemetry: OpenTelemetry) -> Processor:
    nowhere = Nowhere()
    tracing = telemetry.indexer()
    backoff = Backoff(0.1, 1)
    index = MeasuredIndex(nowhere, Calls(emit, tracing), "transactions")
    writer = BulkWriter(index, AdaptiveLimit(8, 5, time.monotonic), backoff, emit, 3)
    return Processor(
        Deduplicator(RecentIds(10_000), None, 5, time.monotonic, emit),
        load_enrichments(),
        OrderedWriter(writer, index, backoff, emit),
        nowhere,
        Breaker(0.5, 1000, 100),
        emit,
        Limits(86_400, 30, backoff),
        tracing=tracing,
    )


def measured(count: int, rounds: int, batch: int) -> dict[str, tuple[float, float]]:
    """By case: the median CPU microseconds of an event, and the median of its throughput as a share of `off`'s."""
    given = {name: records(count, ratio) for name, ratio in CASES.items()}
    costs: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, found in given.items():
            costs[name].append(asyncio.run(indexed(found, batch, traced=CASES[name] is not None)) / count * 1e6)
    shares = {
        name: median(off / on for off, on in zip(costs["off"], some, strict=True)) for name, some in costs.items()
    }
    return {name: (median(some), shares[name]) for name, some in costs.items()}


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1000, help="events in a batch (the guide's default is 10)")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with collector() as address:
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_METRICS_EXPORTER": "none"}
        found = measured(chosen.events, chosen.rounds, chosen.batch)
    if chosen.json:
        print(json.dumps({"events": chosen.events, "batch": chosen.batch, "cases": found}))
        return
    print(f"{chosen.events:,} events in batches of {chosen.batch}, medians of {chosen.rounds} rounds")
    print(f"{'sampled':10}{'CPU µs an event':>18}{'throughput':>12}")
    for name, (cost, share) in found.items():
        print(f"{name:10}{cost:18.2f}{share:12.0%}")


if __name__ == "__main__":
    main()
