"""An indexer stays small and quiet while servers are unavailable, and ends in time whichever server is unavailable."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from chaos.bounds import elasticsearch_unavailable
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]

WAITING = 25_000
CLIENT_BYTES = 96 * 1024 * 1024
"""What its memory may grow by: the Kafka client fetches up to a megabyte, compressed, of each partition."""

BUSY = 0.3
"""Share of a processor: two probes a second, retries every second, heartbeats."""

SHUTDOWN_TIMEOUT = 3.0
LEAVING = 1.5
"""Seconds beyond it in which the interpreter ends; that is a tenth of one, but the machine may be busy."""

SILENT = ["elasticsearch", "kafka", "redis", "postgres"]


async def test_events_that_wait_for_elasticsearch_wait_in_kafka(own_servers: Servers, tmp_path: Path) -> None:
    found = await elasticsearch_unavailable(own_servers.stack, WAITING, tmp_path / "log", limit=200, more={})
    assert 0 < found.taken <= found.allowed < WAITING / 4
    assert found.most - found.before < CLIENT_BYTES
    assert found.busy < BUSY


@pytest.fixture
async def place(own_servers: Servers) -> AsyncIterator[Place]:
    """A place on servers that the tests pause."""
    async with Place.on(own_servers) as found:
        yield found


async def ends(process: Indexer) -> float:
    """Seconds from SIGTERM to a clean exit."""
    began = time.monotonic()
    assert await asyncio.to_thread(process.terminate) == 0
    return time.monotonic() - began


async def worked(place: Place, start_on: Start, **variables: str) -> Indexer:
    """An indexer that has settled 100 events."""
    process = await start_on(place, CONSUMER_SHUTDOWN_TIMEOUT=str(SHUTDOWN_TIMEOUT), **variables).ready()
    await place.publish([event(f"a{number}") for number in range(100)])
    await process.settled(100)
    return process


@pytest.mark.parametrize("unavailable", SILENT)
async def test_the_end_comes_in_time_whichever_server_is_silent(
    own_servers: Servers, place: Place, start_on: Start, unavailable: str
) -> None:
    process = await worked(place, start_on, CONSUMER_ENABLE_AUDIT_DB="true")
    publishing = asyncio.create_task(place.publish([event(f"b{number}") for number in range(2000)]))
    await eventually(process.outcomes, lambda found: sum(found.values()) > 100)
    await asyncio.to_thread(own_servers.pause, unavailable)
    try:
        await asyncio.sleep(1)
        assert await ends(process) < SHUTDOWN_TIMEOUT + LEAVING
    finally:
        await asyncio.to_thread(own_servers.resume, unavailable)
    await publishing
    again = await start_on(place).ready()
    await eventually(place.lag, 0)
    assert await place.count() == 2100
    assert again.process.poll() is None


async def test_the_end_comes_in_time_with_nothing_to_do_and_all_servers_silent(
    own_servers: Servers, place: Place, start_on: Start
) -> None:
    process = await worked(place, start_on, CONSUMER_ENABLE_AUDIT_DB="true")
    await eventually(place.lag, 0)
    for unavailable in SILENT:
        await asyncio.to_thread(own_servers.pause, unavailable)
    try:
        assert await ends(process) < SHUTDOWN_TIMEOUT + LEAVING
    finally:
        for unavailable in SILENT:
            await asyncio.to_thread(own_servers.resume, unavailable)


async def test_the_end_comes_in_time_when_kafka_is_silent_at_the_start(
    own_servers: Servers, place: Place, start_on: Start
) -> None:
    await asyncio.to_thread(own_servers.pause, "kafka")
    try:
        process = start_on(place, CONSUMER_SHUTDOWN_TIMEOUT=str(SHUTDOWN_TIMEOUT))
        await eventually(lambda: asyncio.to_thread(process.logged, "http.listening"), bool)
        await asyncio.sleep(1)
        assert await ends(process) < SHUTDOWN_TIMEOUT + LEAVING
    finally:
        await asyncio.to_thread(own_servers.resume, "kafka")


async def test_what_is_done_is_committed_though_all_the_time_goes_to_what_cannot_be_done(
    own_servers: Servers, place: Place, start_on: Start
) -> None:
    process = await worked(place, start_on, CONSUMER_COMMIT_INTERVAL="600")
    assert await place.lag() == 100, "only the end commits"
    await asyncio.to_thread(own_servers.pause, "elasticsearch")
    try:
        await place.publish([event(f"b{number}") for number in range(40)])
        await eventually(lambda: process.metric("in_flight_bulk_requests"), bool)
        assert await ends(process) < SHUTDOWN_TIMEOUT + LEAVING
    finally:
        await asyncio.to_thread(own_servers.resume, "elasticsearch")
    assert process.logged("offsets.commit_failed") == process.logged("close.given_up") == []
    assert await place.lag() == 40
