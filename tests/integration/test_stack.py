"""The local stack itself: a second instance beside the first, disturbed in the ways that machines disturb servers."""

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from activity_stack import Stack, StackError
from activity_stack.postgres import Postgres

pytestmark = pytest.mark.integration

NAMES = ["redis", "postgres"]
OFFSET = 2700
WRITTEN = 3000
"""Milliseconds that Redis may take to have a write on disk."""
QUICK = 2.0
"""Seconds in which a stack that runs is seen to run, also on a busy machine."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("second-stack")
    yield folder
    Stack.load(folder, OFFSET).discard()


@pytest.fixture
def stack(home: Path) -> Stack:
    """Two servers that are cheap to start, running; each test may leave them as it likes."""
    instance = Stack.load(home, OFFSET)
    instance.up(NAMES)
    return instance


@asynccontextmanager
async def cache(stack: Stack) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(stack.addresses.redis, socket_timeout=1)
    yield client
    await client.aclose()


def states(stack: Stack) -> dict[str, str]:
    return {row.name: row.state for row in stack.status(NAMES)}


def pids(stack: Stack) -> dict[str, int | None]:
    return {row.name: row.pid for row in stack.status(NAMES)}


def data_of_postgres(stack: Stack) -> Path:
    server = stack.servers["postgres"]
    assert isinstance(server, Postgres)
    return server.data


async def ask(stack: Stack, question: str) -> object:
    connection = await asyncpg.connect(stack.addresses.postgres)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def test_up_again_changes_nothing_and_is_quick(stack: Stack) -> None:
    before, began = pids(stack), time.monotonic()
    Stack.load(stack.settings.home).up(NAMES)
    assert (pids(stack), time.monotonic() - began < QUICK) == (before, True)


async def test_the_services_role_owns_its_database(stack: Stack) -> None:
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'activity_feed'"
    assert await ask(stack, owner) == "astropay"
    assert await ask(stack, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


async def test_a_wrong_password_is_refused(stack: Stack) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.addresses.postgres.replace("astropay:astropay", "astropay:other"))


async def test_redis_and_postgresql_speak_tls_that_clients_can_check(stack: Stack) -> None:
    addresses = stack.addresses
    secured = redis.asyncio.Redis.from_url(addresses.redis_tls, ssl_ca_certs=addresses.authority)
    assert await secured.ping()
    await secured.aclose()
    connection = await asyncpg.connect(addresses.postgres_tls)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_killed_server_is_started_again_with_its_data(stack: Stack, name: str) -> None:
    await ask(stack, "CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS id")
    async with cache(stack) as client:
        await client.set("kept", "1")
        assert await client.waitaof(1, 0, WRITTEN) == [1, 0]
    before = pids(stack)
    stack.kill(name)
    assert states(stack)[name] == "stopped"
    stack.up(NAMES)
    assert {other for other in NAMES if pids(stack)[other] != before[other]} == {name}
    async with cache(stack) as client:
        assert (await client.get("kept"), await ask(stack, "SELECT id FROM kept")) == (b"1", 1)


def test_a_lost_state_file_ends_no_other_process_and_says_who_has_the_port(stack: Stack) -> None:
    path = stack.settings.home / "state.json"
    saved, running = path.read_text(), pids(stack)
    path.unlink()
    try:
        with pytest.raises(StackError, match=f"pid {running['redis']} "):
            Stack.load(stack.settings.home, OFFSET).up(["redis"])
    finally:
        path.write_text(saved)
    assert pids(stack) == running


def test_a_lock_of_postgresql_with_a_recycled_pid_stops_nothing(stack: Stack) -> None:
    stack.kill("postgres")
    lock = data_of_postgres(stack) / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    stack.up(NAMES)
    assert states(stack)["postgres"] == "ready"


def test_a_data_folder_that_was_left_half_made_is_made_again(stack: Stack) -> None:
    stack.stop("postgres")
    (data_of_postgres(stack) / "PG_VERSION").unlink()
    stack.up(NAMES)
    assert states(stack)["postgres"] == "ready"


async def test_a_paused_server_answers_nothing_until_it_is_resumed(stack: Stack) -> None:
    async with cache(stack) as client:
        await client.ping()
        stack.pause("redis")
        assert states(stack)["redis"] == "paused"
        with pytest.raises(redis.asyncio.TimeoutError):
            await client.ping()
        stack.resume("redis")
        assert await client.ping()


def test_a_paused_server_can_be_ended(stack: Stack) -> None:
    stack.pause("postgres")
    assert stack.down(["postgres"]) == {"postgres": "stopped"}


def test_a_port_in_use_is_named_with_its_holder(stack: Stack) -> None:
    stack.stop("redis")
    with socket.create_server(("127.0.0.1", stack.settings.ports.redis)), pytest.raises(StackError) as refused:
        stack.start("redis")
    for part in (f"127.0.0.1:{stack.settings.ports.redis}", f"pid {os.getpid()}", "ACTIVITY_STACK_REDIS_PORT"):
        assert part in str(refused.value)


async def test_fresh_empties_the_data(stack: Stack) -> None:
    async with cache(stack) as client:
        await client.set("old", "1")
    stack.up(["redis"], fresh=True)
    async with cache(stack) as client:
        assert await client.get("old") is None


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(stack: Stack) -> None:
    stack.stop("redis")
    data = stack.instance.data("redis")
    for part in (data / "appendonlydir").glob("*.manifest"):
        part.write_text("nonsense\n")
    with pytest.raises(StackError, match=r"(?s)redis ended before it was ready.*redis\.log"):
        stack.start("redis")
    stack.up(["redis"], fresh=True)


def test_down_ends_all_and_only_what_was_started(stack: Stack) -> None:
    running = [pid for pid in pids(stack).values() if pid]
    stack.down()
    assert set(states(stack).values()) == {"stopped"}
    assert [pid for pid in running if Path(f"/proc/{pid}/cwd").exists()] == []
