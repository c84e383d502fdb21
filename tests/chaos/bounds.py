"""What an indexer takes while Elasticsearch is unavailable and many events wait, and how long it needs then."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from chaos.fleet import resident_bytes
from chaos.run import lag
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_loadgen.generate import generate
from activity_loadgen.kafka import KafkaConnection
from activity_loadgen.options import LoadOptions
from activity_loadgen.publish import PublishOptions, publish
from activity_stack import Stack

WATCHED = 8.0
"""Seconds of waiting over which the processor's time is taken."""

REQUEST, IN_FLIGHT, SPARE, FETCH = 500, 8, 2, 1000
VARIABLES = {
    "CONSUMER_BATCH_SIZE": "500",
    "CONSUMER_REQUEST_EVENTS": str(REQUEST),
    "CONSUMER_MAX_IN_FLIGHT": str(IN_FLIGHT),
    "CONSUMER_FETCH_MAX_RECORDS": str(FETCH),
    "CONSUMER_ENABLE_AUDIT_DB": "false",
    "ELASTICSEARCH_REQUEST_TIMEOUT": "5",
}

ALLOWED = (IN_FLIGHT + SPARE) * REQUEST + FETCH


class Bounds(msgspec.Struct, frozen=True):
    """Memory in bytes before the outage and at most during it, `busy` as a share of one processor, times in seconds.

    `taken` are events that the indexer had taken out of Kafka's client and not settled, `allowed` as many as its
    settings allow.
    """

    events: int
    taken: int
    allowed: int
    before: int
    most: int
    busy: float
    recovery: float

    def __str__(self) -> str:
        """As a row of a table."""
        memory = f"{self.before / 1e6:.0f} MB | {self.most / 1e6:.0f} MB"
        rate = f"{self.recovery:.0f} s ({self.events / self.recovery:,.0f} events/s)"
        return f"| {self.events:,} | {self.taken:,} of {self.allowed:,} | {memory} | {self.busy:.1%} | {rate} |"


HEAD = """| events waiting | of them in the indexer | RSS before | at most | processor meanwhile | then lag 0 after |
| --- | --- | --- | --- | --- | --- |"""


async def elasticsearch_unavailable(
    stack: Stack, events: int, log: Path, limit: float, more: Mapping[str, str]
) -> Bounds:
    """Let this many events wait for Elasticsearch, then let it come back; `limit` is for the time to rest (seconds)."""
    async with Place.on(Servers(stack)) as place:
        process = Indexer(place, log, {**VARIABLES, **more})
        try:
            await process.ready()
            await _send(place, 5_000)
            await eventually(lambda: lag(place, place.group), 0)
            before = resident_bytes(process)
            await asyncio.to_thread(stack.stop, "elasticsearch")
            try:
                most, busy = await _wait_with(process, place, events)
                taken = await _taken(process)
            finally:
                await asyncio.to_thread(stack.start, "elasticsearch")
            began = time.monotonic()
            await eventually(lambda: lag(place, place.group), 0, limit, every=0.5)
            return Bounds(events, taken, ALLOWED, before, most, busy, time.monotonic() - began)
        finally:
            process.end()


async def _wait_with(process: Indexer, place: Place, events: int) -> tuple[int, float]:
    sampling = asyncio.create_task(_largest(process))
    await _send(place, events)
    await eventually(lambda: process.metric("dependency_up", dependency="elasticsearch"), 0)
    used = process.cpu_seconds()
    await asyncio.sleep(WATCHED)
    busy = (process.cpu_seconds() - used) / WATCHED
    sampling.cancel()
    return await sampling, busy


async def _taken(process: Indexer) -> int:
    consumed = await process.metric("events_consumed_total")
    return int(consumed) - sum((await process.outcomes()).values())


async def _largest(process: Indexer) -> int:
    most = 0
    with suppress(asyncio.CancelledError):
        while True:
            most = max(most, resident_bytes(process))
            await asyncio.sleep(0.2)
    return most


async def _send(place: Place, events: int) -> None:
    load = LoadOptions(count=events, users=500, user_skew=0.5, update_ratio=0.0)
    connection = KafkaConnection(place.servers.kafka)
    await publish(generate(load), load.run, connection, PublishOptions(place.name))
