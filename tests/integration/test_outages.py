"""Unavailable servers: nothing is lost or dead-lettered for it, and the indexer says what it waits for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiokafka.admin import NewTopic
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
NOWHERE = "127.0.0.1:1"
IDLE = 0.4
"""Share of a processor that an indexer may use while it waits."""


@pytest.fixture
async def place(own_servers: Servers) -> AsyncIterator[Place]:
    """A place on servers that the tests stop."""
    async with Place.on(own_servers) as found:
        yield found
        await asyncio.to_thread(own_servers.stack.up)


async def publish(place: Place, count: int, prefix: str) -> None:
    await place.publish([event(f"{prefix}{number}", user_id=f"u{number % 9}") for number in range(count)])


async def disturb(action: Callable[[str], None], name: str) -> None:
    await asyncio.to_thread(action, name)


def up(process: Indexer, dependency: str) -> Callable[[], Awaitable[float]]:
    return lambda: process.metric("dependency_up", dependency=dependency)


async def busy(process: Indexer, seconds: float = 4.0) -> float:
    """Share of a processor that it uses."""
    before = process.cpu_seconds()
    await asyncio.sleep(seconds)
    return (process.cpu_seconds() - before) / seconds


async def all_is_well(place: Place, process: Indexer, count: int) -> None:
    """This many transactions are there, none is dead-lettered, nothing is left to do, and the probes are good."""
    await eventually(place.count, count)
    assert await place.dead_letters() == []
    await eventually(place.lag, 0)
    await process.ready()
    for path in ("/livez", "/startupz"):
        assert (await process.get(path))[0] == 200


async def test_elasticsearch_stopped_and_paused(place: Place, start_on: Start) -> None:
    process = await start_on(place, ELASTICSEARCH_REQUEST_TIMEOUT="2").ready()
    await publish(place, 100, "a")
    await process.settled(100)
    await disturb(place.servers.stop, "elasticsearch")
    await publish(place, 400, "b")
    await eventually(up(process, "elasticsearch"), 0)
    assert "waiting: elasticsearch: " in await process.reasons("/livez")
    assert (await process.get("/livez"))[0] == 200
    assert await busy(process) < IDLE
    assert await place.lag() > 0
    await disturb(place.servers.start, "elasticsearch")
    await all_is_well(place, process, 500)
    await eventually(up(process, "elasticsearch"), 1)

    await disturb(place.servers.pause, "elasticsearch")
    await publish(place, 200, "c")
    await eventually(up(process, "elasticsearch"), 0)
    assert await busy(process) < IDLE
    await disturb(place.servers.resume, "elasticsearch")
    await all_is_well(place, process, 700)


async def test_redis_killed_and_paused(place: Place, start_on: Start) -> None:
    process = await start_on(place, REDIS_RETRY_INTERVAL="1").ready()
    await publish(place, 50, "a")
    await process.settled(50)
    for disturbance, fixed in ((place.servers.kill, place.servers.start), (place.servers.pause, place.servers.resume)):
        name = disturbance.__name__
        await eventually(place.lag, 0)
        await disturb(disturbance, "redis")
        before = await process.outcomes()
        await publish(place, 100, name)
        await publish(place, 100, name)
        after = await process.settled(sum(before.values()) + 200)
        assert after["indexed"] == before["indexed"] + 100
        assert after["duplicate"] == before.get("duplicate", 0) + 100
        await eventually(up(process, "redis"), 0)
        assert (await process.get("/readyz"))[0] == 200
        await disturb(fixed, "redis")

        async def answers() -> float:
            await place.publish([event()])
            return await process.metric("dependency_up", dependency="redis")

        await eventually(answers, 1, every=0.5)
    assert await place.dead_letters() == []
    assert process.logged("redis.failed")
    assert process.logged("redis.recovered")


async def test_postgresql_stopped_costs_the_audit_time_and_the_indexer_nothing(place: Place, start_on: Start) -> None:
    process = await start_on(place, CONSUMER_ENABLE_AUDIT_DB="true").ready()

    async def audited() -> int:
        return int((await place.rows("SELECT count(*) FROM transactions"))[0][0])

    await publish(place, 50, "a")
    await process.settled(50)

    async def written() -> float:
        return await process.metric("audit_events_total", outcome="written")

    await eventually(written, 50)
    assert await audited() == 50
    await disturb(place.servers.stop, "postgres")
    await publish(place, 300, "b")
    await process.settled(350)
    await eventually(up(process, "postgres"), 0)
    assert (await process.get("/readyz"))[0] == (await process.get("/livez"))[0] == 200
    assert await busy(process) < IDLE
    assert await eventually(lambda: place.lag(f"{place.group}.audit"), lambda found: found > 0) <= 300
    await disturb(place.servers.start, "postgres")
    await eventually(written, 350)
    assert await audited() == 350
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    await eventually(up(process, "postgres"), 1)
    assert process.terminate() == 0


async def test_kafka_stopped(place: Place, start_on: Start) -> None:
    process = await start_on(place).ready()
    await publish(place, 200, "a")
    await process.settled(200)
    await disturb(place.servers.stop, "kafka")
    await eventually(up(process, "kafka"), 0)
    assert (await process.get("/livez"))[0] == 200
    assert "kafka" in await process.reasons("/livez")
    assert await busy(process) < IDLE
    await disturb(place.servers.start, "kafka")
    await publish(place, 200, "b")
    await all_is_well(place, process, 400)
    await eventually(up(process, "kafka"), 1)
    assert await process.outcomes() == {"indexed": 400}


async def test_all_servers_killed_at_once(place: Place, start_on: Start) -> None:
    process = await start_on(place, CONSUMER_ENABLE_AUDIT_DB="true").ready()
    await publish(place, 100, "a")
    await process.settled(100)
    for name in ("redis", "postgres", "elasticsearch", "kafka"):
        await disturb(place.servers.kill, name)
    await asyncio.sleep(2)
    assert (await process.get("/livez"))[0] == 200
    await disturb(place.servers.start, "kafka")
    await publish(place, 100, "b")
    for name in ("redis", "postgres", "elasticsearch"):
        await disturb(place.servers.start, name)
    await all_is_well(place, process, 200)
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)


async def test_an_indexer_that_is_started_first_waits_for_its_servers(place: Place, start_on: Start) -> None:
    for name in ("elasticsearch", "redis", "kafka"):
        await disturb(place.servers.stop, name)
    process = start_on(place)
    await eventually(process.reasons, lambda found: "kafka: Kafka: " in found)
    assert (await process.get("/livez"))[0] == 200
    assert (await process.get("/startupz"))[0] == 503
    assert await process.metric("dependency_up", dependency="kafka") == 0
    assert await busy(process) < IDLE
    await disturb(place.servers.start, "kafka")
    await eventually(process.reasons, lambda found: "elasticsearch: Elasticsearch: " in found)
    assert await process.metric("dependency_up", dependency="elasticsearch") == 0
    assert await busy(process) < IDLE
    await disturb(place.servers.start, "elasticsearch")
    await publish(place, 50, "a")
    await process.settled(50)
    await disturb(place.servers.start, "redis")
    await all_is_well(place, process, 50)


async def test_an_indexer_that_waits_for_its_servers_ends_when_it_is_asked_to(place: Place, start_on: Start) -> None:
    process = start_on(place, ELASTICSEARCH_URL=f"http://{NOWHERE}")
    await eventually(process.reasons, lambda found: "elasticsearch: " in found)
    assert process.terminate(20) == 0


async def test_an_absent_topic_is_waited_for_and_the_reason_says_what_to_do(stack: Servers, start_on: Start) -> None:
    async with Place.on(stack, partitions=0) as place:
        process = start_on(place)
        reasons = await eventually(process.reasons, lambda found: place.name in found)
        assert reasons.startswith("503")
        assert f"topic {place.name} does not exist" in reasons
        assert "KAFKA_TOPIC_PARTITIONS" in reasons
        assert await place.partition_count(place.name) == 0
        await place.admin.create_topics([NewTopic(place.name, 2, 1)])
        await process.ready()
        assert await place.partition_count(place.dead_letter_topic) == 2
        await publish(place, 5, "a")
        assert await process.settled(5) == {"indexed": 5}


async def test_a_topic_is_created_when_its_partitions_are_given(stack: Servers, start_on: Start) -> None:
    async with Place.on(stack, partitions=0) as place:
        await start_on(place, KAFKA_TOPIC_PARTITIONS="4").ready()
        assert await place.partition_count(place.name) == 4
        assert await place.partition_count(place.dead_letter_topic) == 4
        behind = (await place.es.indices.get_alias(name=place.name))[place.index]["aliases"][place.name]
        assert behind["is_write_index"]
        assert behind["filter"] == {"bool": {"must_not": {"exists": {"field": "_deleted_at"}}}}
        mapping = (await place.es.indices.get_mapping(index=place.name))[place.index]["mappings"]
        assert mapping["dynamic"] == "false"


async def test_an_index_with_the_name_of_the_alias_is_refused_and_the_reason_says_what_to_do(
    stack: Servers, start_on: Start
) -> None:
    async with Place.on(stack) as place:
        await place.es.indices.create(index=place.name)
        process = start_on(place)
        reasons = await eventually(process.reasons, lambda found: "must be an alias" in found)
        assert reasons.startswith("503")
        assert (await process.get("/livez"))[0] == 200
        await place.es.indices.delete(index=place.name)
        await process.ready()
