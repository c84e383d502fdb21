"""A Redis that answers but does not help: one state with its reason, and indexing goes on without it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.servers.redis_server import command, redis_server
from fixtures.waiting import eventually

from activity_indexer.adapters.redis.store import RedisSeenStore
from activity_indexer.errors import Unavailable
from activity_indexer.settings import RedisSettings

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]

BROKEN = {
    "full": (("--maxmemory", "1kb", "--maxmemory-policy", "noeviction"), "it is full"),
    "read-only": (("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "yes"), "read-only replica"),
    "without scripts": (("--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""), "it must allow MGET"),
    "without rights": (
        ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-@scripting"),
        "it must allow MGET",
    ),
    "a cluster": (("--cluster-enabled", "yes"), "Redis Cluster is not supported"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_redis_that_does_not_help_is_one_state_with_its_reason(
    place: Place, indexer: Start, tmp_path: Path, kind: str
) -> None:
    async with redis_server(tmp_path / "redis", *BROKEN[kind][0]) as url:
        process = await indexer(REDIS_URL=url, REDIS_RETRY_INTERVAL="0.2").ready()
        for number in range(6):
            await place.publish([event(f"{number}-{each}") for each in range(10)])
            await process.settled(10 * (number + 1))
            await asyncio.sleep(0.3)
        assert await process.outcomes() == {"indexed": 60}
        assert await process.metric("dependency_up", dependency="redis") == 0
        (failed,) = process.logged("redis.failed")
        assert BROKEN[kind][1] in failed["reason"]
        assert process.logged("redis.recovered") == []
        assert (await process.get("/readyz"))[0] == 200


async def test_a_redis_that_has_room_again_is_up_again(place: Place, indexer: Start, tmp_path: Path) -> None:
    async with redis_server(tmp_path / "redis", *BROKEN["full"][0]) as url:
        process = await indexer(REDIS_URL=url, REDIS_RETRY_INTERVAL="0.2").ready()
        await place.publish([event("a")])
        await eventually(lambda: asyncio.to_thread(process.logged, "redis.failed"), bool)
        await command(url, "CONFIG", "SET", "maxmemory", "0")

        await eventually(lambda: process.metric("dependency_up", dependency="redis"), 1)
        assert len(process.logged("redis.recovered")) == 1


async def test_a_server_that_becomes_a_cluster_is_refused_by_name(tmp_path: Path) -> None:
    async with redis_server(tmp_path / "redis", *BROKEN["a cluster"][0]) as url:
        store = RedisSeenStore(RedisSettings(url=url, timeout=5.0), 60.0, str)
        with pytest.raises(Unavailable, match="Redis Cluster is not supported"):
            await store.seen([bytes(16)])
        with pytest.raises(Unavailable, match="Redis Cluster is not supported"):
            await store.mark({bytes(16): b"1"})
        await store.stop()


async def test_a_database_that_does_not_exist_is_named(tmp_path: Path) -> None:
    async with redis_server(tmp_path / "redis") as url:
        store = RedisSeenStore(RedisSettings(url=f"{url}99", timeout=5.0), 60.0, str)
        with pytest.raises(Unavailable, match="no such database"):
            await store.seen([bytes(16)])
        await store.stop()
