"""The status of real servers."""

import asyncio
import json
import time
from collections.abc import Callable

import pytest
from operations_support import begun, called
from support import Indexer, Place, event, eventually

pytestmark = pytest.mark.integration


async def test_a_system_that_runs_is_shown_as_it_is(place: Place, indexer: Callable[..., Indexer]) -> None:
    await place.publish([event(f"t{number}") for number in range(40)] + [b"no event", b"{}", b"{}"])
    running = indexer(CONSUMER_ENABLE_AUDIT_DB="true")
    await running.settled(43)
    await eventually(place.lag, 0)
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    await place.es.indices.refresh(index=place.name)
    done = await called(place, "status", "--json", "--interval", "1s")
    assert done.code == 0, done
    found = json.loads(done.stdout)
    assert (found["healthy"], found["problems"]) == (True, [])
    groups = {each["role"]: each for each in found["kafka"]["found"]["groups"]}
    assert set(groups) == {"indexer", "audit"}
    assert groups["indexer"]["members"] == [
        {"clientId": "activity-indexer", "host": "127.0.0.1", "partitions": [0, 1, 2]}
    ]
    assert groups["indexer"]["totalLag"] == 0
    topics = {each["role"]: each for each in found["kafka"]["found"]["topics"]}
    assert (topics["transactions"]["records"], topics["deadLetters"]["records"]) == (43, 3)
    assert (topics["transactions"]["partitions"], topics["parked"]["exists"]) == (3, False)
    index = found["elasticsearch"]["found"]
    assert (index["index"], index["documents"], index["tombstones"]) == (place.index, 40, 0)
    assert found["postgresql"]["found"]["transactions"] == {"rows": 40, "exact": True}
    assert found["deadLetters"]["found"]["total"] == found["deadLetters"]["found"]["sampled"] == 3
    assert {cause["stage"] for cause in found["deadLetters"]["found"]["causes"]} == {"decode", "validate"}
    assert found["kafka"]["found"]["version"][0].isdigit()
    assert found["redis"]["up"]


async def test_servers_that_are_away_or_silent_hide_nothing_of_the_others(place: Place) -> None:
    connections: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    started = time.monotonic()
    done = await called(
        place,
        *("status", "--timeout", "2s", "--interval", "0.1s", "--json"),
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}",
        ELASTICSEARCH_URL=f"http://127.0.0.1:{port}",
        REDIS_URL="redis://127.0.0.1:1/0",
    )
    assert time.monotonic() - started < 60
    for connection in connections:
        connection.close()
    silent.close()
    await silent.wait_closed()
    found = json.loads(done.stdout)
    assert done.code == 7
    assert [found[each]["up"] for each in ("kafka", "elasticsearch", "redis", "postgresql", "deadLetters")] == [
        False, False, False, True, False,
    ]  # fmt: skip
    assert found["elasticsearch"]["reason"] == "no answer within 2 s"
    assert found["postgresql"]["found"]["transactions"] is None


async def test_it_watches_until_it_is_told_to_end(place: Place) -> None:
    process = await begun(place, "status", "--watch", "--json", "--interval", "0.2s")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert f"group {place.group} has no members: no indexer runs" in lines[1]["problems"]
    process.terminate()
    await process.wait()
