"""A server of ours before Elasticsearch: it passes everything on, or makes the trouble that it is asked to."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import msgspec
from chaos.http_messages import MAX_HEAD, Message, answer, page, read_answer, read_request

BROKEN = (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
STREAM_LIMIT = 32 * MAX_HEAD


class Exchange:
    """One request on its way; the connection to Elasticsearch behind it lives as long as the client's."""

    def __init__(self, connection: "_Connection", request: Message, rng: random.Random) -> None:
        self.request = request
        self.rng = rng
        self._connection = connection

    async def passed_on(self, request: Message | None = None) -> Message:
        """What Elasticsearch answers."""
        return await self._connection.ask(request or self.request)

    async def reply(self, message: Message) -> None:
        """Answer the client."""
        await self._connection.send(message.encoded())

    async def reply_half(self, message: Message) -> None:
        """Send half of an answer, then close our side and go on listening, as a broken middlebox does."""
        text = message.encoded()
        await self._connection.send(text[: len(text) // 2 + 1])
        self._connection.close_half()

    async def never(self) -> None:
        """Say nothing until the client goes away."""
        await self._connection.wait_for_the_end()

    def reset(self) -> None:
        """Break the connection with RST."""
        self._connection.reset()


Trouble = Callable[[Exchange], Awaitable[None]]


async def healthy(exchange: Exchange) -> None:
    """Pass it on."""
    await exchange.reply(await exchange.passed_on())


def sometimes(share: float, trouble: Trouble) -> Trouble:
    """Make this trouble for a share of the bulk requests."""

    async def act(exchange: Exchange) -> None:
        hit = exchange.request.is_bulk and exchange.rng.random() < share
        await (trouble if hit else healthy)(exchange)

    return act


def slow(seconds: float) -> Trouble:
    """Do what was asked, and answer late."""

    async def act(exchange: Exchange) -> None:
        message = await exchange.passed_on()
        await asyncio.sleep(seconds)
        await exchange.reply(message)

    return act


def refusing(status: int, error: str) -> Trouble:
    """Refuse the whole request."""
    body = msgspec.json.encode({"error": {"type": error, "reason": "as the fault wants it"}, "status": status})

    async def act(exchange: Exchange) -> None:
        await exchange.reply(answer(status, body))

    return act


PAGES = (
    page(200, b"<html>Welcome! Please log in.</html>"),
    page(200, b""),
    page(200, b"{}"),
    page(302, b"", location="http://127.0.0.1:9/login"),
    page(400, b"<html>Bad request</html>"),
    page(407, b"<html>Proxy authentication required</html>"),
    page(413, b"<html>Too large</html>"),
    page(499, b""),
    page(507, b"<html>Insufficient storage</html>"),
    page(520, b"<html>Web server returns an unknown error</html>"),
    page(530, b"<html>The site is frozen</html>"),
)
"""What gateways answer in Elasticsearch's place."""


async def paging(exchange: Exchange) -> None:
    """Answer with a gateway's page; half of the time Elasticsearch has done what was asked."""
    if exchange.rng.random() < 0.5:
        await exchange.passed_on()
    await exchange.reply(exchange.rng.choice(PAGES))


def refusing_items(share: float, status: int, error: str) -> Trouble:
    """Refuse a share of the documents of a bulk request, and pass the others on."""

    async def act(exchange: Exchange) -> None:
        pairs = _pairs(exchange.request.body)
        refused = [exchange.rng.random() < share for _ in pairs]
        rest = b"".join(pair for pair, no in zip(pairs, refused, strict=True) if not no)
        items = await _items(exchange, rest)
        if items is None:
            return
        why = {"index": {"status": status, "error": {"type": error, "reason": "as the fault wants it"}}}
        merged = [why if no else items.pop(0) for no in refused]
        await exchange.reply(answer(200, msgspec.json.encode({"errors": True, "items": merged})))

    return act


async def _items(exchange: Exchange, body: bytes) -> list[object] | None:
    """Elasticsearch's items for these documents; None when it refused all, and the client has its answer."""
    if not body:
        return []
    found = await exchange.passed_on(_unfiltered(exchange.request.with_body(body)))
    if " 200 " not in found.start:
        await exchange.reply(found)
        return None
    items: list[object] = msgspec.json.decode(found.body)["items"]
    return items


def _unfiltered(request: Message) -> Message:
    """The same request, answered with all items: a filter leaves those out that have nothing to report."""
    start, _, rest = request.start.partition("?")
    query, _, protocol = rest.partition(" ")
    kept = "&".join(part for part in query.split("&") if not part.startswith("filter_path="))
    return Message(f"{start}?{kept} {protocol}", request.headers, request.body)


async def resetting(exchange: Exchange) -> None:
    """Break the connection: half of the time before Elasticsearch gets the request, else before the answer."""
    if exchange.rng.random() < 0.5:
        await exchange.passed_on()
    exchange.reset()


async def half_closing(exchange: Exchange) -> None:
    """Do what was asked, and end in the middle of the answer."""
    await exchange.reply_half(await exchange.passed_on())


async def silent(exchange: Exchange) -> None:
    """Do what was asked, and never say so."""
    await exchange.passed_on()
    await exchange.never()


def _pairs(body: bytes) -> list[bytes]:
    lines = body.split(b"\n")[:-1]
    return [b"%b\n%b\n" % (action, source) for action, source in zip(lines[::2], lines[1::2], strict=True)]


class Proxy:
    """`trouble` is what happens to each request from now on; `url` is where clients find it."""

    def __init__(self, target: str, seed: int = 0) -> None:
        parts = urlsplit(target)
        self.trouble: Trouble = healthy
        self.url = ""
        self.rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._target = (parts.hostname or "", parts.port or 80)
        self._connections: set[_Connection] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, target: str, seed: int = 0) -> AsyncIterator["Proxy"]:
        """A proxy that listens on a free port."""
        proxy = cls(target, seed)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0, limit=STREAM_LIMIT)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            for connection in list(proxy._connections):
                connection.reset()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._target, reader, writer)
        self._connections.add(connection)
        try:
            with suppress(*BROKEN):
                while request := await read_request(reader):
                    await self.trouble(Exchange(connection, request, self.rng))
        except asyncio.CancelledError:
            return
        finally:
            self._connections.discard(connection)
            connection.reset()


class _Connection:
    """A client's connection, and ours to Elasticsearch for it."""

    def __init__(self, target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer
        self._behind: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Message) -> Message:
        if self._behind is None:
            self._behind = await asyncio.open_connection(*self._target, limit=STREAM_LIMIT)
        reader, writer = self._behind
        writer.write(request.encoded())
        await writer.drain()
        return await read_answer(reader, request.method)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close_half(self) -> None:
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def wait_for_the_end(self) -> None:
        while await self._reader.read(MAX_HEAD):
            pass

    def reset(self) -> None:
        """Close both sides at once; closing with no time to linger is a RST."""
        if self._behind:
            self._behind[1].transport.abort()
        if raw := self._writer.get_extra_info("socket"):
            with suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
