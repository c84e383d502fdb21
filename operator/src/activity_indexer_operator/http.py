"""The port of health and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from activity_indexer_operator.metrics import Metrics

Verdict = Callable[[], str]
"""Empty when all is well, else what is wrong."""


class HttpServer:
    """Serves /livez (also as /healthz), /readyz (200 or 503) and /metrics."""

    def __init__(self, port: int, live: Verdict, ready: Verdict, metrics: Metrics, refresh: Callable[[], None]) -> None:
        self._port = port
        self._metrics = metrics
        self._refresh = refresh
        app = web.Application()
        for path, verdict in (("/livez", live), ("/healthz", live), ("/readyz", ready)):
            app.router.add_get(path, self._probe(verdict))
        app.router.add_get("/metrics", self._exposition)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> int:
        """Listen on all addresses; returns the port, a free one when 0 was asked for."""
        await self._runner.setup()
        await web.TCPSite(self._runner, None, self._port).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Close the port."""
        await self._runner.cleanup()

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
