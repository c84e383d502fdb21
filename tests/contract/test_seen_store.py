"""What every SeenStore promises: the fake in memory and Redis alike."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fixtures.clock import Clock
from fixtures.memory.stores import MemorySeen
from fixtures.servers.place import Servers

from activity_indexer.adapters.redis.store import RedisSeenStore
from activity_indexer.errors import Unavailable
from activity_indexer.positions import Partition
from activity_indexer.settings import RedisSettings

Make = Callable[..., Any]


ONE, OTHER, THIRD = (Partition("t", number) for number in range(3))


@pytest.fixture
def redis_settings(stack: Servers) -> RedisSettings:
    return RedisSettings(url=stack.redis_url, key_prefix=f"test-{uuid.uuid4().hex[:12]}", timeout=5.0)


def key(name: str) -> bytes:
    """An id with any bytes in it, as a hash has them."""
    return (name.encode() + b"\r\n $\0*: \xff\x80\r\n\r\n\r\n")[:16]


A, B, C, X = map(key, "abcx")


def marks(ids: Iterable[bytes], entry: bytes = b"1 0\r\n2\0\xff4") -> dict[bytes, bytes]:
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
    assert set(await make().seen([A, B])) == set()


async def test_what_was_marked_is_known_and_nothing_else(make: Make) -> None:
    store = make()
    await store.mark(marks([A, C]))
    assert set(await store.seen([A, B, C, A])) == {A, C}


async def test_marking_twice_is_marking_once(make: Make) -> None:
    store = make()
    await store.mark(marks([A, A]))
    await store.mark(marks([A]))
    assert set(await store.seen([A])) == {A}


async def test_each_id_has_the_entry_that_was_marked_last(make: Make) -> None:
    store = make()
    await store.mark({A: b"1:7", B: b"2:8", C: b"3:9"})
    await store.mark({B: b"0:0"})
    assert await store.seen([C, B, X, A]) == {A: b"1:7", B: b"0:0", C: b"3:9"}


async def test_a_whole_batch_is_one_call(make: Make) -> None:
    store = make()
    ids = [number.to_bytes(16, "big") for number in range(10_000)]
    await store.mark(marks(ids[::2]))
    assert set(await store.seen(ids)) == set(ids[::2])


async def test_ids_are_forgotten_after_their_time(make: Make) -> None:
    store = make(ttl=0.05)
    await store.mark(marks([A]))
    assert set(await store.seen([A])) == {A}
    await asyncio.sleep(0.1)
    assert set(await store.seen([A])) == set()


async def test_marking_again_renews_the_time(make: Make) -> None:
    store = make(ttl=0.2)
    await store.mark(marks([A]))
    await asyncio.sleep(0.12)
    await store.mark(marks([A]))
    await asyncio.sleep(0.12)
    assert set(await store.seen([A])) == {A}


async def test_an_index_knows_nothing_of_another_indexs_ids(make: Make) -> None:
    index = "one"
    store = make(namespace=lambda: index)
    await store.mark(marks([A]))
    index = "two"
    assert set(await store.seen([A])) == set()
    index = "one"
    assert set(await store.seen([A])) == {A}


async def test_ids_are_known_for_their_lifetime_though_they_are_kept_for_longer(make: Make) -> None:
    clock = Clock(1000.0)
    store = make(ttl=86_400.0, lifetime=lambda: 60.0, clock=clock)
    await store.mark(marks([A]))
    clock.now += 58.0
    assert set(await store.seen([A])) == {A}
    clock.now += 3.0
    assert set(await store.seen([A])) == set()
    await store.mark(marks([A]))
    assert set(await store.seen([A])) == {A}


@pytest.mark.integration
async def test_redis_counts_the_lifetime_by_its_own_clock(redis_settings: RedisSettings) -> None:
    writer = RedisSeenStore(redis_settings, 86_400.0, str, lambda: 60.0, Clock(5_000_000.0))
    reader = RedisSeenStore(redis_settings, 86_400.0, str, lambda: 60.0, Clock(7.0))
    await writer.mark(marks([A]))
    assert set(await reader.seen([A])) == {A}
    await writer.stop()
    await reader.stop()


@pytest.mark.integration
async def test_a_mark_of_another_form_is_not_known(redis_settings: RedisSettings) -> None:
    from redis.asyncio import Redis

    store = RedisSeenStore(redis_settings, 86_400.0, str, lambda: 60.0)
    async with Redis.from_url(redis_settings.url.get_secret_value()) as redis:
        await store.mark(marks([A, B, C]))
        (one, other, _) = sorted(
            [name async for name in redis.scan_iter(f"{redis_settings.key_prefix}:*", count=10_000)]
        )
        await redis.set(one, "1")
        await redis.set(other, "odd")
        assert set(await store.seen([A, B, C])) == {C}
    await store.stop()


@pytest.mark.integration
async def test_an_id_takes_few_bytes_in_redis(redis_settings: RedisSettings) -> None:
    from redis.asyncio import Redis

    store = RedisSeenStore(redis_settings, 60.0, lambda: f"transaction_indexer:{uuid.uuid4()}")
    async with Redis.from_url(redis_settings.url.get_secret_value()) as redis:
        await store.mark(marks([A], bytes(32)))
        (name,) = [name async for name in redis.scan_iter(f"{redis_settings.key_prefix}:*", count=10_000)]
        assert await redis.memory_usage(name) <= 160
    await store.stop()


@pytest.mark.integration
async def test_a_redis_that_lost_the_script_gets_it_again(redis_settings: RedisSettings) -> None:
    from redis.asyncio import Redis

    store = RedisSeenStore(redis_settings, 60.0, str)
    async with Redis.from_url(redis_settings.url.get_secret_value()) as redis:
        await store.mark(marks([A]))
        await redis.script_flush()
        await store.mark(marks([B]))
    assert set(await store.seen([A, B])) == {A, B}
    await store.forget([A])
    assert set(await store.seen([A, B])) == {B}
    await store.stop()


@pytest.mark.integration
async def test_an_event_loop_that_is_held_makes_no_redis_unavailable(redis_settings: RedisSettings) -> None:
    """The answers come long after the time-out by the clock, each time that this process looks."""
    settings = redis_settings.model_copy(update={"timeout": 0.02})
    store = RedisSeenStore(settings, 60.0, str)

    async def hold() -> None:
        while True:
            time.sleep(0.06)  # noqa: ASYNC251 - what is tested
            await asyncio.sleep(0)

    holding = asyncio.create_task(hold())
    for _ in range(3):
        await store.mark(marks([A]))
        assert set(await store.seen([A, B])) == {A}
    holding.cancel()
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
        await store.seen([A])
    with pytest.raises(Unavailable, match="Redis"):
        await store.mark(marks([A]))
    await store.stop()


async def test_redis_that_never_answers_is_unavailable_in_time() -> None:
    ended = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        store = RedisSeenStore(RedisSettings(url=f"redis://127.0.0.1:{port}/0", timeout=0.05), 60.0, str)
        async with asyncio.timeout(1.0):
            with pytest.raises(Unavailable, match="Redis"):
                await store.seen([A])
        await store.stop()
        await ended.wait()
