"""What every SeenStore promises: the fake in memory and Redis alike."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from core_support import Clock
from support import Servers

from activity_indexer.adapters.memory import MemorySeen
from activity_indexer.adapters.redis import RedisSeenStore
from activity_indexer.errors import Unavailable
from activity_indexer.ports import Partition
from activity_indexer.settings import RedisSettings

Make = Callable[..., Any]


ONE, OTHER, THIRD = (Partition("t", number) for number in range(3))


@pytest.fixture
def redis_settings(stack: Servers) -> RedisSettings:
    return RedisSettings(url=stack.redis_url, key_prefix=f"test-{uuid.uuid4().hex[:12]}", timeout=5.0)


def marks(ids: Iterable[str], entry: bytes = b"1:0:2:3:4") -> dict[str, bytes]:
    return dict.fromkeys(ids, entry)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    if request.param == "memory":
        yield MemorySeen
        return
    servers: Servers = request.getfixturevalue("stack")
    settings = RedisSettings(url=servers.redis_url, key_prefix=f"test-{uuid.uuid4().hex[:12]}", timeout=5.0)
    async with AsyncExitStack() as stack:

        def redis(
            ttl: float = 60.0,
            namespace: Callable[[], str] = str,
            lifetime: Callable[[], float] = lambda: math.inf,
            clock: Callable[[], float] = time.monotonic,
        ) -> RedisSeenStore:
            store = RedisSeenStore(settings, ttl, namespace, lifetime, clock)
            stack.push_async_callback(store.stop)
            return store

        yield redis


async def test_nothing_is_known_at_first(make: Make) -> None:
    assert set(await make().seen(["a", "b"])) == set()


async def test_what_was_marked_is_known_and_nothing_else(make: Make) -> None:
    store = make()
    await store.mark(marks(["a", "c"]))
    assert set(await store.seen(["a", "b", "c", "a"])) == {"a", "c"}


async def test_marking_twice_is_marking_once(make: Make) -> None:
    store = make()
    await store.mark(marks(["a", "a"]))
    await store.mark(marks(["a"]))
    assert set(await store.seen(["a"])) == {"a"}


async def test_each_id_has_the_entry_that_was_marked_last(make: Make) -> None:
    store = make()
    await store.mark({"a": b"1:0:1:0:7", "b": b"1:0:2:0:8", "c": b"1:0:3:0:9"})
    await store.mark({"b": b"0:0:0:0:0"})
    assert await store.seen(["c", "b", "x", "a"]) == {"a": b"1:0:1:0:7", "b": b"0:0:0:0:0", "c": b"1:0:3:0:9"}


async def test_a_whole_batch_is_one_call(make: Make) -> None:
    store = make()
    ids = [f"{number:032x}" for number in range(10_000)]
    await store.mark(marks(ids[::2]))
    assert set(await store.seen(ids)) == set(ids[::2])


async def test_ids_are_forgotten_after_their_time(make: Make) -> None:
    store = make(ttl=0.05)
    await store.mark(marks(["a"]))
    assert set(await store.seen(["a"])) == {"a"}
    await asyncio.sleep(0.1)
    assert set(await store.seen(["a"])) == set()


async def test_marking_again_renews_the_time(make: Make) -> None:
    store = make(ttl=0.2)
    await store.mark(marks(["a"]))
    await asyncio.sleep(0.12)
    await store.mark(marks(["a"]))
    await asyncio.sleep(0.12)
    assert set(await store.seen(["a"])) == {"a"}


async def test_an_index_knows_nothing_of_another_indexs_ids(make: Make) -> None:
    index = "one"
    store = make(namespace=lambda: index)
    await store.mark(marks(["a"]))
    index = "two"
    assert set(await store.seen(["a"])) == set()
    index = "one"
    assert set(await store.seen(["a"])) == {"a"}


async def test_ids_are_known_for_their_lifetime_though_they_are_kept_for_longer(make: Make) -> None:
    clock = Clock(1000.0)
    store = make(ttl=86_400.0, lifetime=lambda: 60.0, clock=clock)
    await store.mark(marks(["a"]))
    clock.now += 58.0
    assert set(await store.seen(["a"])) == {"a"}
    clock.now += 3.0
    assert set(await store.seen(["a"])) == set()
    await store.mark(marks(["a"]))
    assert set(await store.seen(["a"])) == {"a"}


@pytest.mark.integration
async def test_redis_counts_the_lifetime_by_its_own_clock(redis_settings: RedisSettings) -> None:
    writer = RedisSeenStore(redis_settings, 86_400.0, str, lambda: 60.0, Clock(5_000_000.0))
    reader = RedisSeenStore(redis_settings, 86_400.0, str, lambda: 60.0, Clock(7.0))
    await writer.mark(marks(["a"]))
    assert set(await reader.seen(["a"])) == {"a"}
    await writer.stop()
    await reader.stop()


@pytest.mark.integration
async def test_a_mark_of_another_form_is_not_known(redis_settings: RedisSettings) -> None:
    from redis.asyncio import Redis

    store = RedisSeenStore(redis_settings, 86_400.0, str, lambda: 60.0)
    async with Redis.from_url(redis_settings.url.get_secret_value()) as redis:
        await redis.set(f"{redis_settings.key_prefix}::a", "1")
        await redis.set(f"{redis_settings.key_prefix}::b", "odd")
        assert set(await store.seen(["a", "b"])) == set()
    await store.stop()


async def test_offsets_are_kept_by_partition_and_index(make: Make) -> None:
    index = "one"
    store = make(namespace=lambda: index)
    assert await store.committed([ONE, OTHER]) == {}
    await store.remember({ONE: 7})
    await store.remember({ONE: 5, OTHER: 2})
    assert await store.committed([ONE, OTHER, THIRD]) == {ONE: 5, OTHER: 2}
    index = "two"
    assert await store.committed([ONE]) == {}


async def test_redis_that_is_not_there_is_unavailable() -> None:
    store = RedisSeenStore(RedisSettings(url="redis://127.0.0.1:1/0"), 60.0, str)
    with pytest.raises(Unavailable, match="Redis"):
        await store.seen(["a"])
    with pytest.raises(Unavailable, match="Redis"):
        await store.mark(marks(["a"]))
    await store.stop()


async def test_redis_that_never_answers_is_unavailable_in_time() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        store = RedisSeenStore(RedisSettings(url=f"redis://127.0.0.1:{port}/0", timeout=0.05), 60.0, str)
        async with asyncio.timeout(1.0):
            with pytest.raises(Unavailable, match="Redis"):
                await store.seen(["a"])
        await store.stop()
