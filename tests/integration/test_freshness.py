"""The measured freshness, against what a user sees who searches all the time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fixtures.events import DELETED, UPDATED, encoded, event, moment
from fixtures.servers.commands import called
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration

Start = Callable[..., Indexer]

REFRESH = 3.0
"""Seconds between two refreshes of the index."""

SLACK = 1.5
"""What a search, the pause between two and a loaded machine may take (seconds)."""

HOUR_AGO = 3_600.0


@dataclass(frozen=True)
class Measured:
    """What an indexer's histogram holds."""

    count: float
    total: float
    seen: float


async def measured(running: Indexer) -> Measured:
    return Measured(
        await running.metric("freshness_seconds_count"),
        await running.metric("freshness_seconds_sum"),
        await running.metric("freshness_probes_total", outcome="seen"),
    )


async def one_more(running: Indexer, before: Measured) -> float:
    """The freshness that was measured next."""
    after = await eventually(lambda: measured(running), lambda found: found.count == before.count + 1, 30)
    assert after.seen == before.seen + 1
    return float(after.total - before.total)


async def seen_by_searching(place: Place, identifier: str) -> float:
    """When a search finds the document (seconds since the epoch)."""

    async def hits() -> int:
        answer = await place.es.search(index=place.name, query={"term": {"id": identifier}})
        return len(answer["hits"]["hits"])

    await eventually(hits, 1, every=0.02)
    return time.time()


def start(indexer: Start) -> Indexer:
    """Every batch is followed, unless another document is."""
    return indexer(
        CONSUMER_FRESHNESS_INTERVAL="0.001",
        CONSUMER_BATCH_TIMEOUT="0.05",
        ELASTICSEARCH_REFRESH_INTERVAL=f"{REFRESH:g}s",
    )


async def test_it_is_what_a_searcher_sees_with_a_known_refresh_interval(place: Place, indexer: Start) -> None:
    running = await start(indexer).ready()
    await place.publish([event("first")])
    await seen_by_searching(place, "first")
    await one_more(running, Measured(0, 0, 0))

    waits = []
    for number in range(2):  # each is published just after a refresh, and waits for the next
        before, published = await measured(running), time.time()
        await place.publish([event(f"next-{number}")])
        seen = await seen_by_searching(place, f"next-{number}") - published
        found = await one_more(running, before)
        assert abs(found - seen) < SLACK, (found, seen)
        waits.append(found)
    assert all(REFRESH - SLACK < wait < REFRESH + 2 * SLACK for wait in waits), waits


async def test_it_follows_the_moment_of_the_refresh_and_not_the_acknowledgement(place: Place, indexer: Start) -> None:
    running = await start(indexer).ready()
    await place.es.indices.put_settings(index=place.name, settings={"index.refresh_interval": "-1"})
    published = time.time()
    await place.publish([event("held back")])
    await running.settled(1)
    await asyncio.sleep(2)
    assert (await measured(running)).count == 0
    await place.es.indices.refresh(index=place.name)
    refreshed = time.time() - published
    assert -0.1 < await one_more(running, Measured(0, 0, 0)) - refreshed < SLACK
    acknowledged = await running.metric("event_age_seconds_sum")
    assert acknowledged < refreshed - SLACK


async def test_a_replay_is_as_fresh_as_its_own_record_and_what_comes_late_is_not_followed(
    place: Place, indexer: Start, tmp_path: Path
) -> None:
    """The records are an hour old, as their events are: that hour is no delay of a search for what came after."""
    running = await start(indexer).ready()
    await place.es.indices.put_settings(index=place.name, settings={"index.refresh_interval": "100ms"})
    broken = event("again", amount="not a number")
    long_ago = int((time.time() - HOUR_AGO) * 1000)
    await place.producer.send_and_wait(place.name, encoded(broken), timestamp_ms=long_ago)
    await running.settled(1)
    assert (await measured(running)).count == 0, "nothing was written"

    patch = tmp_path / "patch.json"
    patch.write_text('{"transaction": {"amount": 7}}')
    replayed = await called(place, "dead-letters", "replay", "--json", "--patch", str(patch))
    assert replayed.code == 0, replayed
    await running.settled(2)
    found = await one_more(running, Measured(0, 0, 0))
    assert 0 < found < 60

    before = await measured(running)
    await place.publish([event("again", UPDATED, moment(9))])
    await one_more(running, before)
    before = await measured(running)
    late = event("again", UPDATED, moment(5))
    await place.producer.send_and_wait(place.name, encoded(late), timestamp_ms=long_ago)
    await place.publish([event("again", DELETED, moment(10))])
    assert (await running.settled(5))["late"] == 1
    await asyncio.sleep(0.5)
    assert await measured(running) == before


@pytest.mark.parametrize("timestamp", [0, 1_790_000_000])
async def test_a_producer_whose_clock_cannot_be_right_makes_no_age_and_is_counted(
    place: Place, indexer: Start, timestamp: int
) -> None:
    """Zero and seconds: neither lag, age nor freshness is that of half a century."""
    process = await indexer(CONSUMER_FRESHNESS_INTERVAL="0.1").ready()
    await place.producer.send_and_wait(place.name, encoded(event("a")), timestamp_ms=timestamp)
    await process.settled(1)
    await eventually(lambda: process.metric("implausible_timestamps_total"), 1)
    assert process.logged("events.undated")
    await eventually(lambda: process.metric("consumer_lag_events"), 0)
    assert await process.metric("event_age_seconds_count") == 0
    assert await process.metric("freshness_seconds_count") == 0
    assert await process.metric("consumer_lag_seconds") == 0
    await place.publish([event("b")])
    await eventually(lambda: process.metric("freshness_seconds_count"), lambda count: count >= 1)
    assert await process.metric("event_age_seconds_sum") < 600
