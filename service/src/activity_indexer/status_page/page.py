"""Serves the page: `/`, `/settings`, and `/status.json` for programs. Read only, and nothing comes from elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from activity_indexer.facts import Fact
from activity_indexer.settings import Settings
from activity_indexer.status_page import formats
from activity_indexer.status_page.history import INTERVAL, History
from activity_indexer.status_page.sampling import keep_sampling, sample
from activity_indexer.status_page.view import View, view
from activity_indexer.telemetry.health import Health, Verdict
from activity_indexer.telemetry.masking import masked
from activity_indexer.telemetry.metrics.indexer import Metrics

if TYPE_CHECKING:
    from jinja2 import Environment

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class StatusPage:
    """The page of one indexer."""

    def __init__(self, settings: Settings, health: Health, metrics: Metrics) -> None:
        self._settings = settings
        self._health = health
        self._metrics = metrics
        self._history = History()
        self._started = time.time()

    @cached_property
    def _templates(self) -> Environment:
        """Made for the first visitor, in a thread: it takes a moment."""
        from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - most indexers have none

        templates = Environment(
            loader=PackageLoader("activity_indexer.status_page"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        templates.filters |= formats.FILTERS
        return templates

    def add_to(self, app: web.Application) -> None:
        """Answer at the page's paths, and take samples as long as the application runs."""
        app.router.add_get("/", self._index)
        app.router.add_get("/settings", self._show_settings)
        app.router.add_get("/status.json", self._json)
        app.cleanup_ctx.append(self._sampling)

    async def _sampling(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(keep_sampling(self._metrics, self._history))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _index(self, _request: web.Request) -> web.Response:
        await asyncio.to_thread(lambda: self._templates)
        return self._html("index.html", view=self._view(), refresh=round(INTERVAL))

    async def _show_settings(self, _request: web.Request) -> web.Response:
        await asyncio.to_thread(lambda: self._templates)
        return self._html("settings.html", settings=list(self._settings.in_force()))

    async def _json(self, _request: web.Request) -> web.Response:
        content = self._context() | self._view().as_json()
        return web.Response(body=msgspec.json.encode(content), content_type="application/json", headers=_HEADERS)

    def _view(self) -> View:
        ok, reasons = self._health.ready()
        values = self._metrics.snapshot()
        now = sample(values, self._metrics.ages, time.time())
        facts = msgspec.convert(masked(msgspec.to_builtins(self._health.facts())), list[Fact])
        return view(self._history, now, values, Verdict(ok, masked(reasons)), facts, self._health.partitions())

    def _html(self, template: str, **values: Any) -> web.Response:
        text = self._templates.get_template(template).render(self._context(), **values)
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    def _context(self) -> dict[str, Any]:
        kafka = self._settings.kafka
        return {
            "version": version("activity-indexer"),
            "topic": kafka.transactions_topic,
            "group": kafka.consumer_group,
            "index": self._settings.elasticsearch.index,
            "now": time.time(),
            "started": self._started,
        }
