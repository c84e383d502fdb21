"""Nothing is kept of what was indexed but a bounded number of message ids: the same after N events and after 2N."""

import gc
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pytest
from aiohttp import web

from activity_indexer.adapters.elasticsearch.bulk import ElasticsearchIndex
from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.indexing import BulkWriter, Tries
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batcher
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds
from activity_indexer.ports import OutRecord
from activity_indexer.positions import Partition
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import Subscribers
from activity_indexer.settings import ElasticsearchSettings
from activity_indexer.telemetry.calls import Calls, MeasuredIndex
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.log_lines import LogLines
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.problems import Problems
from activity_indexer.telemetry.progress import Progress
from activity_indexer.ties import OrderedWriter
from activity_indexer.tracing import Untraced
from activity_loadgen.generate import generate
from activity_loadgen.options import LoadOptions

ROUND = 2_000
PLACE = Partition("transactions", 0)


@dataclass(frozen=True, slots=True)
class Record:
    offset: int
    value: bytes | None
    key: bytes | None = b"user"
    topic: str = "transactions"
    partition: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 1_700_000_000_000


class Buried:
    """ports.DeadLetters that are all acknowledged."""

    async def send(self, _records: Sequence[OutRecord]) -> tuple[Sequence[OutRecord], str]:
        return [], ""


async def accepted(request: web.Request) -> web.Response:
    documents = (await request.read()).count(b"\n") // 2
    items = ",".join(['{"index":{"status":201}}'] * documents)
    return web.Response(
        text=f'{{"errors":false,"took":1,"items":[{items}]}}',
        content_type="application/json",
        headers={"x-elastic-product": "Elasticsearch"},
    )


@pytest.fixture
async def index() -> AsyncIterator[ElasticsearchIndex]:
    application = web.Application(client_max_size=2**26)
    application.router.add_post("/{tail:.*}", accepted)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found = ElasticsearchIndex(ElasticsearchSettings(url=f"http://127.0.0.1:{runner.addresses[0][1]}", index="t"), {})
    yield found
    await found.stop()
    await runner.cleanup()


def processor(index: ElasticsearchIndex, metrics: Metrics) -> Processor:
    health = Health(time.monotonic, 60)
    emit = Subscribers(metrics.indexer, Progress(health), Problems(health), LogLines())
    backoff = Backoff(0.1, 1)
    measured = MeasuredIndex(index, Calls(emit, Untraced()), "t")
    writer = BulkWriter(measured, AdaptiveLimit(8, 5, time.monotonic), backoff, emit, Tries(3, 10, 120.0))
    known = Deduplicator(RecentIds(500), None, 5, time.monotonic, emit)
    return Processor(
        known,
        load_enrichments(),
        OrderedWriter(writer, measured, backoff, emit),
        Buried(),
        Breaker(0.5, 1000, 100),
        emit,
        Limits(86_400, 30, backoff),
    )


async def test_what_is_in_memory_does_not_grow_with_the_number_of_events(index: ElasticsearchIndex) -> None:
    """Also with duplicates, deletions, late events and dead letters. Each round has transactions of its own.

    Their texts are the same in each round: the caches of texts have bounds of their own, and hold all after the first.
    """
    load = LoadOptions(
        count=ROUND, users=ROUND, update_ratio=0.1, delete_ratio=0.05, duplicate_ratio=0.1, late_ratio=0.05,
        invalid_ratio=0.05, seed=7, start_us=1_700_000_000_000_000,
    )  # fmt: skip
    values = [event.value for event in islice(generate(load), ROUND)]
    offsets = PartitionOffsets()
    work, batcher = processor(index, Metrics()), Batcher(500, 1 << 26, 1, time.monotonic)
    offset = 0

    async def one_round() -> tuple[int, int]:
        """Objects that are tracked, and bytes that are traced, after this many events more."""
        nonlocal offset
        fresh = b'"id":"%d-' % offset
        records = [
            Record(offset + number, value and value.replace(b'"id":"', fresh, 1)) for number, value in enumerate(values)
        ]
        offset += ROUND
        batcher.add({PLACE: records}, {PLACE: offsets})
        while cut := batcher.cut():
            await work.process(batcher.take(cut.records))
        assert offsets.mark() == offset, "all are settled"
        offsets.committed(offset)
        del records
        gc.collect()
        return len(gc.get_objects()), tracemalloc.get_traced_memory()[0]

    await one_round()
    tracemalloc.start()
    try:
        measured = [await one_round() for _ in range(6)]
    finally:
        tracemalloc.stop()
    (objects, size), (objects_later, size_later) = measured[1], measured[-1]
    assert objects_later - objects < ROUND / 20, measured
    assert size_later - size < 10 * 4 * ROUND, measured
