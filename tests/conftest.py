"""Fixtures for all tests: the local stack's servers, and places of a test's own on them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import structlog
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.simulated_time import SimulatedLoop
from hypothesis import settings

from activity_stack import Stack, StackError

settings.register_profile("any machine", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("any machine")

OWN_PORTS = 4300
"""How far the ports of the second stack are from those of the first."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests with the mark `simulated_time` run on a loop whose waits take no time."""
    simulated = item.get_closest_marker("simulated_time") is not None
    return {"simulated": SimulatedLoop} if simulated else {"real": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def levels_of_loggers() -> Iterator[None]:
    """A program under test sets levels for its whole process; here they end with the test."""
    before = {name: logging.getLogger(name).level for name in ("", "aiokafka", "kopf")}
    lines = structlog.get_config()
    yield
    structlog.configure(**lines)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def stack() -> Iterator[Servers]:
    """The local stack, started when it is not running; it is left running for the next tests."""
    servers = Stack.load()
    try:
        servers.up()
    except StackError as error:
        pytest.fail(f"the local stack does not start: {error}")
    yield Servers(servers)
    servers.up()


@pytest.fixture(scope="session")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A second instance of the stack, whose servers a test may stop, kill and pause; each test leaves them running."""
    servers = Stack.load(tmp_path_factory.mktemp("stack"), OWN_PORTS)
    try:
        servers.up()
        yield Servers(servers)
    except StackError as error:
        pytest.fail(f"a second local stack does not start: {error}")
    finally:
        servers.discard()


@pytest.fixture
async def place(stack: Servers) -> AsyncIterator[Place]:
    """Topic, group, index, Redis keys and database of one test's own."""
    async with Place.on(stack) as found:
        yield found


@pytest.fixture
def start_on(tmp_path: Path) -> Iterator[Callable[..., Indexer]]:
    """Starts indexers on a place; all are ended with the test."""
    started: list[Indexer] = []

    def start(place: Place, **variables: str) -> Indexer:
        process = Indexer(place, tmp_path / f"indexer-{len(started)}.log", variables)
        started.append(process)
        return process

    yield start
    for process in started:
        process.end()


@pytest.fixture
def indexer(place: Place, start_on: Callable[..., Indexer]) -> Callable[..., Indexer]:
    """Starts indexers on the test's own place."""
    return partial(start_on, place)
