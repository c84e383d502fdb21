"""Fixtures for all tests: the local stack's servers, and places of a test's own on them."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support import Indexer, Place, Servers

from activity_stack import Stack, StackError


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


@pytest.fixture
async def place(stack: Servers) -> AsyncIterator[Place]:
    """Topic, group, index, Redis keys and database of one test's own."""
    async with Place.on(stack) as found:
        yield found


@pytest.fixture
def indexer(place: Place, tmp_path: Path) -> Iterator[Callable[..., Indexer]]:
    """Starts indexers on the test's place; all are ended with the test."""
    started: list[Indexer] = []

    def start(**variables: str) -> Indexer:
        process = Indexer(place, tmp_path / f"indexer-{len(started)}.log", variables)
        started.append(process)
        return process

    yield start
    for process in started:
        process.end()
