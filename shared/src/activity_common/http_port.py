"""A port that answers HTTP, with bounded connections: health, metrics and what a program adds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web

from activity_common.http_connections import Connections

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that an answer under way has at the end."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpPort:
    """Serves `app`, whose routes are added before `start`. `program` names the logger."""

    def __init__(self, program: str, middlewares: Sequence[Any] = ()) -> None:
        self.app = web.Application(middlewares=[self._progress, *middlewares])
        self._program = program
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT)
        self._server: asyncio.Server | None = None
        self._connections: Connections | None = None

    async def start(self, host: str | None, port: int) -> int:
        """Listen (on all addresses without a host); returns the port, a free one for 0. Raises OSError."""
        await self._runner.setup()
        self._connections = Connections(lambda: self._runner.server and self._runner.server(), self._program)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._connections, host, port)
        except OSError:
            await self._runner.cleanup()
            raise
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def stop(self) -> None:
        """Close the port. May be called twice, and without a start."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    @web.middleware
    async def _progress(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give the connection time for its answer, and for its next request."""
        if self._connections is not None:
            self._connections.progressed(request.protocol)
        try:
            return await handler(request)
        finally:
            if self._connections is not None:
                self._connections.progressed(request.protocol)
