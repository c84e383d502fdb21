"""Memory has one budget, whatever the size of events: the process stays below the limit that the chart sets."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from fixtures.events import encoded, event
from fixtures.servers.elasticsearch_front import ELASTICSEARCH, Bulk, Front
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_indexer.memory import BASE, DEFAULT_BUDGET

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
Start = Callable[..., Indexer]

PARTITIONS = 8
EVENTS = 500
SIZE = 900_000
LIMIT = BASE + DEFAULT_BUDGET


@pytest.fixture
async def wide(stack: Servers) -> AsyncIterator[Place]:
    async with Place.on(stack, PARTITIONS) as place:
        await place.es.cluster.health()
        yield place


@pytest.fixture
async def front(stack: Servers) -> AsyncIterator[Front]:
    async with Front.before(stack.elasticsearch_url) as front:
        yield front


async def slow(bulk: Bulk) -> web.Response:
    """All documents are written, after a while; they are not kept."""
    bulk.body, bulk.pairs = b"", []
    await asyncio.sleep(1.0)
    items = [{"index": {"status": 201}} for _ in bulk.ids]
    return web.Response(
        body=msgspec.json.encode({"errors": False, "took": 1000, "items": items}),
        content_type="application/json",
        headers=ELASTICSEARCH,
    )


def highest(process: Indexer) -> int:
    """The most memory that the process has had resident (bytes)."""
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


async def publish_large(place: Place, count: int, size: int, compression: str | None, keys: int = 64) -> None:
    """Events whose transaction has a note of this many characters."""
    async with AIOKafkaProducer(
        bootstrap_servers=place.servers.kafka, max_request_size=2 * size + 100_000, compression_type=compression
    ) as producer:
        for number in range(count):
            note = "x" * size if compression else os.urandom(size // 2).hex()
            value = encoded(event(f"t{number}", note=note))
            await producer.send(place.name, value, key=b"user-%d" % (number % keys))


@pytest.mark.parametrize("compression", ["gzip", None])
async def test_large_events_and_a_slow_elasticsearch_stay_within_the_charts_limit(
    wide: Place, start_on: Start, front: Front, compression: str | None
) -> None:
    """The guide's settings, with the audit: the case that was killed at the limit twice."""
    front.rule = slow
    count = EVENTS if compression else EVENTS // 4
    await publish_large(wide, count, SIZE, compression)
    process = start_on(
        wide,
        ELASTICSEARCH_URL=front.url,
        CONSUMER_ENABLE_AUDIT_DB="true",
        CONSUMER_BATCH_SIZE="10",
        CONSUMER_BATCH_TIMEOUT="5",
        CONSUMER_FRESHNESS_INTERVAL="0",
    )
    await process.ready()
    before = highest(process)
    await process.settled(count, timeout=400)
    await eventually(lambda: process.metric("audit_events_total", outcome="written"), count, timeout=200)
    print(f"peak {highest(process) / 2**20:.0f} MiB, {before / 2**20:.0f} MiB before the first event")  # noqa: T201
    assert highest(process) < LIMIT
