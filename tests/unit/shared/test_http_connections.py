"""What a stranger does to the HTTP port takes a bounded part of the process, and no probe is kept waiting by it."""

import asyncio
import socket
import time
from contextlib import suppress

import aiohttp
import pytest

from activity_common.http_connections import Connections
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.http import HttpServer
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer_operator.runtime.http import HttpServer as OperatorServer
from activity_indexer_operator.runtime.metrics import Metrics as OperatorMetrics

BEGUN = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.fixture(params=["service", "operator"])
async def port(request, monkeypatch):
    """A server of one of the programs, with little patience."""
    monkeypatch.setattr(Connections.__init__, "__defaults__", (8, 0.5))
    if request.param == "service":
        server = HttpServer("127.0.0.1", 0, Health(time.monotonic, 120.0), Metrics())
    else:
        server = OperatorServer(free_port(), str, str, OperatorMetrics(), lambda: None)
    yield await server.start()
    await server.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def opened(port, data=BEGUN):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def refused(writer, data):
    """Write the same again and again, until the connection is closed."""
    with suppress(ConnectionError):
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.001)


async def ended(reader):
    """Everything that comes until the connection ends."""
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""


async def alive(port):
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/livez") as response:
        return response.status


async def test_a_request_that_does_not_become_complete_is_closed(port):
    reader, writer = await opened(port)
    assert await ended(reader) == b""
    writer.close()


async def test_a_request_that_comes_drop_by_drop_is_closed(port):
    reader, writer = await opened(port)
    ending = asyncio.create_task(ended(reader))
    while not ending.done():
        writer.write(b"x")
        await asyncio.sleep(0.05)
    assert await ending == b""
    writer.close()


async def test_a_connection_that_asks_nothing_more_is_closed(port):
    reader, writer = await opened(port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await ended(reader)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_client_that_does_not_read_its_answers_is_closed(port):
    reader, writer = await opened(port, b"")
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    await asyncio.wait_for(refused(writer, ask), 60)
    assert await alive(port) == 200
    writer.close()
    assert reader


async def test_a_request_that_is_too_large_is_closed(port):
    reader, writer = await opened(port)
    await asyncio.wait_for(refused(writer, b"x: " + b"y" * 1000 + b"\r\n"), 60)
    assert b"200" not in await ended(reader)


async def test_probes_are_answered_while_strangers_hold_connections(port):
    """The longest quiet connection makes room for a new one."""
    held = [await opened(port) for _ in range(20)]
    assert await alive(port) == 200
    first, last = held[0][0], held[-1][0]
    assert await ended(first) == b""
    assert not last.at_eof()
    for _, writer in held:
        writer.close()


async def test_a_connection_that_asks_now_and_then_is_kept(port):
    async with aiohttp.ClientSession() as session:
        for _ in range(4):
            async with session.get(f"http://127.0.0.1:{port}/livez") as response:
                assert response.status == 200
            await asyncio.sleep(0.3)
        assert len(session.connector._conns) == 1
