import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from activity_stack import certs
from activity_stack.postgres import ENCRYPTION_REQUEST, SSL_REQUEST
from activity_stack.tls_front import Front

HOST = "127.0.0.1"
LIMIT = 1.5
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@pytest.fixture
def files(tmp_path: Path) -> certs.Certificates:
    return certs.ensure(tmp_path / "certs")


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1000):
        writer.write(b"echo " + piece)
    await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


@asynccontextmanager
async def listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    served: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.ensure_future(serve(reader, writer)))
        await served[-1]

    server = await asyncio.start_server(accept, HOST, 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.gather(*served)


@asynccontextmanager
async def fronted(files: certs.Certificates, *, negotiated: bool) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.server, files.key)
    async with listening(echo) as backend:
        front = Front(backend, context, negotiated=negotiated)
        async with listening(front.connect, None if negotiated else context) as port:
            yield port


def trust(files: certs.Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.authority))


async def test_a_client_that_begins_with_tls_reaches_the_server(files: certs.Certificates) -> None:
    async with asyncio.timeout(LIMIT), fronted(files, negotiated=False) as port:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=trust(files))
        writer.write(b"hello")
        assert await reader.readexactly(10) == b"echo hello"
        await close(writer)


@pytest.mark.parametrize("refused_first", [False, True])
async def test_a_client_that_asks_for_tls_reaches_the_server(files: certs.Certificates, *, refused_first: bool) -> None:
    async with asyncio.timeout(LIMIT), fronted(files, negotiated=True) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        if refused_first:
            writer.write(ENCRYPTION_REQUEST)
            assert await reader.readexactly(1) == b"N"
        writer.write(SSL_REQUEST)
        assert await reader.readexactly(1) == b"S"
        await writer.start_tls(trust(files), server_hostname=HOST)
        writer.write(b"hello")
        assert await reader.readexactly(10) == b"echo hello"
        await close(writer)


async def test_a_client_that_does_not_ask_for_tls_is_sent_away(files: certs.Certificates) -> None:
    async with asyncio.timeout(LIMIT), fronted(files, negotiated=True) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"12345678")
        assert await reader.read() == b""
        await close(writer)
