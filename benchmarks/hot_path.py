"""CPU cost of one event in each stage of the indexer, without any server: `python benchmarks/hot_path.py [--events N]`.

Times are CPU times of this process, the best of several rounds: compare them with each other, on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.document import live_document
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.event import Event
from activity_indexer.indexing import BulkWriter
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batch, Batcher
from activity_indexer.pipeline.decode import decode_event, decode_record
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds
from activity_indexer.ports import BulkReply, Enricher, OutRecord, Stored
from activity_indexer.positions import Partition
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import Subscribers
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.log_lines import LogLines
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.problems import Problems
from activity_indexer.telemetry.progress import Progress
from activity_indexer.ties import OrderedWriter
from activity_loadgen.generate import generate
from activity_loadgen.options import LoadOptions

LATEST = 2**60
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """As the client hands it out."""

    offset: int
    value: bytes
    topic: str = "transactions"
    partition: int = 0
    key: bytes = b"user"
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 1_700_000_000_000


@functools.cache
def _all_written(documents: int) -> BulkReply:
    items = b",".join([b'{"index":{"status":201}}'] * documents)
    return BulkReply(200, b'{"errors":false,"items":[%b]}' % items)


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

    async def send(self, _records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        """All are sent."""
        return [], ""


def best(rounds: int, work: Callable[[], object]) -> float:
    """The least CPU time of a round (seconds)."""

    def once() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return min(once() for _ in range(rounds))


def processor(enricher: Enricher | None = None) -> Processor:
    """The whole of it, logging nothing; with an enricher that has been used, its plans and caches are warm."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    nowhere = Nowhere()
    health = Health(time.monotonic, 60)
    emit = Subscribers(Metrics().indexer, Progress(health), Problems(health), LogLines())
    backoff = Backoff(0.1, 1)
    writer = BulkWriter(nowhere, AdaptiveLimit(8, 5, time.monotonic), backoff, emit, 3)
    seen = Deduplicator(RecentIds(10_000), None, 5, time.monotonic, emit)
    return Processor(
        seen,
        enricher or load_enrichments(),
        OrderedWriter(writer, nowhere, backoff, emit),
        nowhere,
        Breaker(0.5, 1000, 100),
        emit,
        Limits(86_400, 30, backoff),
    )


def records(count: int) -> list[Record]:
    """Events of many users, the same ones every time."""
    load = LoadOptions(count=count, update_ratio=0.0, users=500, seed=7, start_us=1_700_000_000_000_000)
    values = [event.value for event in generate(load) if event.value is not None][:count]
    return [Record(offset, value) for offset, value in enumerate(values)]


def batches(taken: Sequence[Record], size: int = BATCH) -> Iterator[Batch]:
    """As the consumer takes them."""
    batcher = Batcher(size, 1 << 26, 1, time.monotonic)
    batcher.add({Partition("transactions", 0): taken}, {Partition("transactions", 0): PartitionOffsets()})
    while cut := batcher.cut():
        yield batcher.take(cut.records)


async def whole(work: Processor, taken: Sequence[Record], size: int = BATCH) -> None:
    """Batches, processing, settling."""
    for batch in batches(taken, size):
        await work.process(batch)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    count = chosen.events // BATCH * BATCH
    taken = records(count)
    values = [record.value for record in taken]
    events: list[Event] = [decode_event(value, LATEST) for value in values]
    registry = load_enrichments()
    enriched = [registry(event) for event in events]
    places = [slice(start, start + BATCH) for start in range(0, count, BATCH)]  # as in the indexer, a batch at a time

    def by_batch(work: Callable[[slice], object]) -> Callable[[], object]:
        def run() -> None:
            for place in places:
                work(place)

        return run

    now = b"2026-01-01T00:00:00Z"
    stages: dict[str, Callable[[], object]] = {
        "decode": by_batch(lambda place: [decode_record(record, LATEST) for record in taken[place]]),
        "message id": by_batch(lambda place: [event.key for event in events[place]]),
        "enrich": by_batch(lambda place: [registry(event) for event in events[place]]),
        "document": by_batch(
            lambda place: [
                live_document(event, added, now) for event, added in zip(events[place], enriched[place], strict=True)
            ]
        ),
        "whole batches": lambda: asyncio.run(whole(processor(), taken)),
    }
    costs = {name: best(chosen.rounds, work) / count * 1e6 for name, work in stages.items()}
    if chosen.json:
        print(json.dumps({"events": count, "bytes": sum(map(len, values)) // count, "microseconds": costs}))
        return
    print(f"{count:,} events of {sum(map(len, values)) // count} bytes, CPU µs an event")
    for name, cost in costs.items():
        print(f"{name:15}{cost:8.2f}")


if __name__ == "__main__":
    main()
