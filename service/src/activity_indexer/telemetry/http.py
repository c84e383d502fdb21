"""The port of health and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Protocol

import msgspec
from aiohttp import web

from activity_common.http_port import Handler, HttpPort
from activity_indexer.errors import Refused
from activity_indexer.facts import IndexerFacts
from activity_indexer.telemetry.health import Health, Verdict
from activity_indexer.telemetry.masking import masked
from activity_indexer.telemetry.metrics.indexer import Metrics


class Page(Protocol):
    """What users may look at, beside the paths for programs."""

    def add_to(self, app: web.Application) -> None:
        """Answer at further paths."""


class HttpServer:
    """Serves /livez, /readyz, /startupz (200 or 503), /facts, /metrics, and a status page if there is one.

    `identity` names the indexer in /facts, by the fields of IndexerFacts.
    """

    def __init__(
        self,
        host: str,
        port: int,
        health: Health,
        metrics: Metrics,
        page: Page | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._health = health
        self._identity = {"instance": "", "group": "", **(identity or {})}
        self._metrics = metrics
        self._http = HttpPort(__name__.partition(".")[0], [_errors_as_json])
        app = self._http.app
        app.router.add_get("/livez", _probe(health, health.live))
        app.router.add_get("/readyz", _probe(health, health.ready))
        app.router.add_get("/startupz", _probe(health, health.startup))
        app.router.add_get("/facts", self._facts)
        app.router.add_get("/metrics", self._exposition)
        if page is not None:
            page.add_to(app)

    async def start(self) -> int:
        """Listen; returns the port, which is a free one when 0 was asked for. Raises Refused when it cannot be had."""
        try:
            return await self._http.start(self._host, self._port)
        except OSError as error:
            raise Refused(
                f"CONSUMER_HTTP_PORT: cannot listen on {self._host}:{self._port} ({error.strerror or error}); choose a "
                "port that is free and an address of this machine (CONSUMER_HTTP_HOST)"
            ) from error

    async def stop(self) -> None:
        """Close the port. May be called twice, and without a start."""
        await self._http.stop()

    async def _facts(self, _request: web.Request) -> web.Response:
        found = IndexerFacts(
            **self._identity,
            version=version("activity-indexer"),
            live=self._health.live().ok,
            ready=self._health.ready().ok,
            facts=self._health.facts(),
            partitions={str(number): facts for number, facts in self._health.partitions().items()},
        )
        return _json(HTTPStatus.OK, masked(msgspec.to_builtins(found)))

    async def _exposition(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


def _probe(health: Health, ask: Callable[[], Verdict]) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        ok, reasons = ask()
        status = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
        facts = masked(msgspec.to_builtins(health.facts()))
        return _json(status, {"status": "ok" if ok else "failing", "reasons": masked(reasons), "facts": facts})

    return answer


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        response = _json(error.status, {"status": "error", "reasons": [f"{request.path}: {error.reason.lower()}"]})
        response.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return response


def _json(status: int, content: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")
