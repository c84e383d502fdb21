"""A client of Redis: commands as bytes out, replies in their order back, on one connection.

It does what the store of seen ids needs and no more: the usual client takes as long to import as half of the start,
and 20 MB. The protocol is read by hiredis.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import hiredis

from activity_indexer.adapters.redis.address import Address
from activity_indexer.adapters.redis.errors import NO_CLUSTER, NotRedis, RedisError, explained
from activity_indexer.errors import Unavailable
from activity_indexer.responsive import ResponsiveTimeout
from activity_indexer.settings import RedisSettings

_INCOMPLETE: Final = object()


class RedisClient:
    """One connection, made when there is something to ask, and made again after it was lost.

    Nothing is tried twice. A question is given up after `limit` seconds in which this process had time for the answer:
    a busy event loop does not use up the time of a server that has answered long ago.
    """

    def __init__(self, settings: RedisSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._address = Address.of(settings)
        self._context: ssl.SSLContext | None = None
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._used_at = 0.0

    async def ask(self, command: bytes, limit: float) -> Any:
        """The reply to a command. Raises Unavailable, with advice.

        A connection whose reply is no longer waited for is closed, since nothing says whether it is dead.
        """
        connection = None
        try:
            async with ResponsiveTimeout(limit):
                connection = await self._connected()
                return await connection.ask(command)
        except (RedisError, NotRedis, OSError, ValueError) as error:  # ValueError: a host that has no encoding
            if connection is not None and not isinstance(error, RedisError):
                connection.close()
            raise Unavailable(explained(error)) from error
        except asyncio.CancelledError:
            if connection is not None:
                connection.close()
            raise

    async def info(self, limit: float, *sections: str) -> Mapping[str, str]:
        """What the server says about itself. Raises Unavailable."""
        text = bytes(await self.ask(encoded(b"INFO", *map(str.encode, sections)), limit)).decode(errors="replace")
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def refuse_cluster(self, limit: float) -> None:
        """Raises Unavailable when the server is a node of a Redis Cluster, which has only a part of the keys."""
        try:
            found = await self.info(limit, "cluster")
        except Unavailable as error:
            logged_in = self._connection is not None and not self._connection.closed
            if isinstance(error.__cause__, RedisError) and logged_in:  # INFO may be forbidden: the keys show it
                return
            raise
        if found.get("cluster_enabled", "0") != "0":
            raise Unavailable(f"Redis: {NO_CLUSTER}")

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _connected(self) -> _Connection:
        async with self._connecting:
            connection = self._connection
            idle = self._clock() - self._used_at
            stale = connection is not None and not connection.busy and 0 < self._address.idle_limit < idle
            if connection is None or connection.closed or stale:
                if connection is not None:
                    connection.close()
                self._connection = connection = await self._connect()
            self._used_at = self._clock()
            return connection

    async def _connect(self) -> _Connection:
        """A connection that is logged in. Raises RedisError, NotRedis or OSError."""
        address, loop = self._address, asyncio.get_running_loop()
        if address.tls and self._context is None:
            self._context = address.tls.context()
        _, connection = await loop.create_connection(
            lambda: _Connection(keepalive=address.keepalive), address.host, address.port, ssl=self._context
        )
        try:
            if address.login:
                await _log_in(connection, address.login)
            if address.protocol != 2:
                await connection.ask(encoded(b"HELLO", b"%d" % address.protocol))
            if address.client_name:
                await connection.ask(encoded(b"CLIENT", b"SETNAME", address.client_name.encode()))
            if address.database:
                await connection.ask(encoded(b"SELECT", b"%d" % address.database))
        except BaseException:
            connection.close()
            raise
        return connection


async def _log_in(connection: _Connection, login: tuple[str, ...]) -> None:
    try:
        await connection.ask(encoded(b"AUTH", *map(str.encode, login)))
    except RedisError as error:
        if len(login) == 1 or "wrong number of arguments" not in str(error):
            raise
        await connection.ask(encoded(b"AUTH", login[-1].encode()))  # servers before version 6 know no users


class _Connection(asyncio.Protocol):
    """Replies are handed to those who wait, in the order of their commands."""

    def __init__(self, *, keepalive: bool) -> None:
        self._keepalive = keepalive
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=RedisError, protocolError=NotRedis, notEnoughData=_INCOMPLETE)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._lost: Exception = ConnectionError("the server closed the connection")

    @property
    def busy(self) -> bool:
        """Whether a reply is waited for."""
        return bool(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._transport is None or self._transport.is_closing()

    async def ask(self, command: bytes) -> Any:
        """The reply to a command. Raises RedisError, NotRedis, or OSError."""
        if self._transport is None:
            raise self._lost
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        self._transport.write(command)
        reply = await waiting
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def close(self, reason: Exception | None = None) -> None:
        """Give up what waits."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        if self._keepalive:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                if not self._waiting:  # such as that there are too many clients
                    self.close(reply if isinstance(reply, RedisError) else NotRedis("it sent more than was asked for"))
                    return
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(reply)
        except NotRedis as error:
            self.close(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, and when it is closed; the first reason counts."""
        if self._transport is not None:
            self._transport = None
            self._lost = exc or self._lost
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(self._lost)


def encoded(*arguments: bytes) -> bytes:
    """A whole command."""
    return beginning(len(arguments), *arguments)


def beginning(arguments: int, *first: bytes) -> bytes:
    """The beginning of a command of this many arguments: these are the first."""
    return b"*%d\r\n" % arguments + b"".join(map(argument, first))


def argument(value: bytes) -> bytes:
    """One argument."""
    return b"$%d\r\n%b\r\n" % (len(value), value)
