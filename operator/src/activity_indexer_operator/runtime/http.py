"""The port of health and metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from activity_common.http_port import Handler, HttpPort
from activity_indexer_operator.runtime.metrics import Metrics

Verdict = Callable[[], str]
"""Empty when all is well, else what is wrong."""


class HttpServer:
    """Serves /livez (also as /healthz), /readyz (200 or 503) and /metrics."""

    def __init__(self, port: int, live: Verdict, ready: Verdict, metrics: Metrics, refresh: Callable[[], None]) -> None:
        self._port = port
        self._metrics = metrics
        self._refresh = refresh
        self._http = HttpPort(__name__.partition(".")[0])
        for path, verdict in (("/livez", live), ("/healthz", live), ("/readyz", ready)):
            self._http.app.router.add_get(path, self._probe(verdict))
        self._http.app.router.add_get("/metrics", self._exposition)

    async def start(self) -> int:
        """Listen on all addresses; returns the port, a free one for 0."""
        return await self._http.start(None, self._port)

    async def stop(self) -> None:
        """Close the port."""
        await self._http.stop()

    def _probe(self, verdict: Verdict) -> Handler:
        async def answer(_request: web.Request) -> web.Response:
            wrong = verdict()
            return web.json_response(
                {"status": "failing" if wrong else "ok", "reason": wrong}, status=503 if wrong else 200
            )

        return answer

    async def _exposition(self, _request: web.Request) -> web.Response:
        self._refresh()
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})
