"""Bounds what the connections of an HTTP port may take: their number, their time, and the size of a request.

Without the bounds any client that reaches the port could use up the process's file descriptors, and with these the
connections to Kafka and all other servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

LIMIT: Final = 64
"""Connections at once: probes, a scraper and the status page need a handful."""

QUIET_TIMEOUT: Final = 10.0
"""Seconds in which a request must be complete, its answer read, or the next request begin."""

MAX_REQUEST: Final = 16 * 1024
"""Bytes of a request, with its headers and its body."""

REPORT_INTERVAL: Final = 60.0
"""Seconds between two log lines about connections that were closed."""


class Connections:
    """Makes the protocol of each connection; `make` makes the one that speaks HTTP.

    When there are too many connections the one that was quiet for the longest time is closed: a new one may be a probe.
    `program` names the log line's logger.
    """

    def __init__(
        self, make: Callable[[], Any], program: str, limit: int = LIMIT, quiet_timeout: float = QUIET_TIMEOUT
    ) -> None:
        self._make = make
        self._limit = limit
        self._quiet_timeout = quiet_timeout
        self._open: dict[Any, _Connection] = {}
        self._loop = asyncio.get_running_loop()
        self._reported_at = float("-inf")
        self._log = structlog.get_logger(f"{program}.http")

    def __call__(self) -> asyncio.Protocol:
        """The protocol of one more connection."""
        return _Connection(self, self._make())

    def __len__(self) -> int:
        return len(self._open)

    def progressed(self, handler: Any) -> None:
        """A request of this connection is complete, or its answer is ready."""
        if (connection := self._open.get(handler)) is not None:
            connection.progressed()

    def opened(self, connection: _Connection) -> float:
        """Make room for a connection; returns the time that it has."""
        if len(self._open) >= self._limit:
            min(self._open.values(), key=lambda each: each.since).abort()
            if (now := self._loop.time()) - self._reported_at > REPORT_INTERVAL:
                self._reported_at = now
                self._log.warning("http.too_many_connections", limit=self._limit, action="the longest quiet is closed")
        self._open[connection.handler] = connection
        return self._quiet_timeout

    def closed(self, connection: _Connection) -> None:
        """A connection has ended."""
        self._open.pop(connection.handler, None)


class _Connection(asyncio.Protocol):
    """Passes everything on to the handler, which speaks HTTP, and counts."""

    def __init__(self, connections: Connections, handler: Any) -> None:
        self.handler = handler
        self.since = 0.0
        self._connections = connections
        self._received = 0
        self._quiet_timeout = 0.0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def progressed(self) -> None:
        self._received = 0
        self.since = self._loop.time()

    def abort(self) -> None:
        self._connections.closed(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.since = self._loop.time()
        self._quiet_timeout = self._connections.opened(self)
        self._timer = self._loop.call_later(self._quiet_timeout, self._check)
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_REQUEST:
            self.abort()
        else:
            self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        kept: bool | None = self.handler.eof_received()
        return kept

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connections.closed(self)
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()

    def _check(self) -> None:
        left = self.since + self._quiet_timeout - self._loop.time()
        if left <= 0:
            self.abort()
        else:
            self._timer = self._loop.call_later(left, self._check)
