"""The port of health and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from activity_common.http_connections import Connections
from activity_indexer_operator.runtime.metrics import Metrics

PROGRAM: Final = __name__.partition(".")[0]
Verdict = Callable[[], str]
"""Empty when all is well, else what is wrong."""


class HttpServer:
    """Serves /livez (also as /healthz), /readyz (200 or 503) and /metrics."""

    def __init__(self, port: int, live: Verdict, ready: Verdict, metrics: Metrics, refresh: Callable[[], None]) -> None:
        self._port = port
        self._metrics = metrics
        self._refresh = refresh
        app = web.Application(middlewares=[self._progress])
        for path, verdict in (("/livez", live), ("/healthz", live), ("/readyz", ready)):
            app.router.add_get(path, self._probe(verdict))
        app.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._server: asyncio.Server | None = None
        self._connections: Connections | None = None

    async def start(self) -> int:
        """Listen on all addresses; returns the port, a free one for 0."""
        await self._runner.setup()
        self._connections = Connections(lambda: self._runner.server and self._runner.server(), PROGRAM)
        self._server = await asyncio.get_running_loop().create_server(self._connections, None, self._port)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    @web.middleware
    async def _progress(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Give the connection time for its answer, and for its next request."""
        if self._connections is not None:
            self._connections.progressed(request.protocol)
        try:
            return await handler(request)
        finally:
            if self._connections is not None:
                self._connections.progressed(request.protocol)

    def _probe(self, verdict: Verdict) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_request: web.Request) -> web.Response:
            wrong = verdict()
            return web.json_response(
                {"status": "failing" if wrong else "ok", "reason": wrong}, status=503 if wrong else 200
            )

        return answer

    async def _exposition(self, _request: web.Request) -> web.Response:
        self._refresh()
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})
