"""An indexer stays small and quiet while servers are away, and ends in time whoever is away."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.bounds import elasticsearch_away
from support import Indexer, Place, Servers, event, eventually

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]

WAITING = 25_000
CLIENT_BYTES = 96 * 1024 * 1024
"""What its memory may grow by: the Kafka client fetches up to a megabyte, compressed, of each partition."""

BUSY = 0.3
"""Share of a processor: two probes a second, retries every second, heartbeats."""

SHUTDOWN_TIMEOUT = 3
CLOSING = 10
"""Seconds beyond it in which connections are closed: nobody answers."""


async def test_events_that_wait_for_elasticsearch_wait_in_kafka(own_servers: Servers, tmp_path: Path) -> None:
    found = await elasticsearch_away(own_servers.stack, WAITING, tmp_path / "log", limit=200, more={})
    assert 0 < found.taken <= found.allowed < WAITING / 4
    assert found.most - found.before < CLIENT_BYTES
    assert found.busy < BUSY


@pytest.mark.parametrize("away", ["elasticsearch", "kafka", "redis", "postgres"])
async def test_the_end_comes_in_time_whoever_is_silent(own_servers: Servers, start_on: Start, away: str) -> None:
    async with Place.on(own_servers) as place:
        process = await start_on(
            place, CONSUMER_SHUTDOWN_TIMEOUT=str(SHUTDOWN_TIMEOUT), CONSUMER_ENABLE_AUDIT_DB="true"
        ).ready()
        await place.publish([event(f"a{number}") for number in range(100)])
        await process.settled(100)
        publishing = asyncio.create_task(place.publish([event(f"b{number}") for number in range(2000)]))
        await eventually(process.outcomes, lambda found: sum(found.values()) > 100)
        await asyncio.to_thread(own_servers.pause, away)
        try:
            await asyncio.sleep(1)
            began = time.monotonic()
            code = await asyncio.to_thread(process.terminate, SHUTDOWN_TIMEOUT + CLOSING)
            assert code == 0
            assert time.monotonic() - began < SHUTDOWN_TIMEOUT + CLOSING
        finally:
            await asyncio.to_thread(own_servers.resume, away)
        await publishing
        again = await start_on(place).ready()
        await eventually(place.lag, 0)
        assert await place.count() == 2100
        assert again.process.poll() is None
