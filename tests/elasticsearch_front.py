"""A server of ours before Elasticsearch: it passes everything on, and answers bulk requests where a test says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

PASSED_ON = ("content-type", "accept", "authorization")
PASSED_BACK = ("content-type", "x-elastic-product")
ELASTICSEARCH = {"x-elastic-product": "Elasticsearch"}
"""What Elasticsearch names itself with."""
Answer = web.StreamResponse | None
Rule = Callable[["Bulk"], Awaitable[Answer]]


class Bulk:
    """One bulk request: its documents' ids, and ways to answer it."""

    def __init__(self, front: "Front", request: web.Request, body: bytes) -> None:
        self._front = front
        self.request = request
        self.body = body
        lines = body.splitlines()
        self.pairs = list(zip(lines[::2], lines[1::2], strict=True))
        self.ids = [msgspec.json.decode(action)["index"]["_id"] for action, _ in self.pairs]

    async def passed_on(self) -> web.Response:
        """Elasticsearch's own answer."""
        return await self._front.forward(self.request, self.body)

    async def with_items(self, refused: Mapping[str, tuple[int, str]]) -> web.Response:
        """Refuse these ids with a status and an error type, and pass the others on."""
        kept = [pair for pair, name in zip(self.pairs, self.ids, strict=True) if name not in refused]
        rest = b"".join(b"\n".join(pair) + b"\n" for pair in kept)
        items: list[Any] = []
        if rest:
            answer = await self._front.forward(self.request, rest)
            items = msgspec.json.decode(answer.body)["items"]  # type: ignore[arg-type]
        found = [
            {"index": {"status": refused[name][0], "error": {"type": refused[name][1], "reason": "said the front"}}}
            if name in refused
            else items.pop(0)
            for name in self.ids
        ]
        body = msgspec.json.encode({"errors": True, "items": found})
        return web.Response(body=body, content_type="application/json", headers=ELASTICSEARCH)

    async def torn(self) -> Answer:
        """Begin an answer and break the connection in its middle."""
        response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
        await response.prepare(self.request)
        await response.write(b'{"errors":fal')
        if self.request.transport:
            self.request.transport.abort()
        return response


class Front:
    """`rule` answers bulk requests, or gives None to have them passed on; `bulks` are the requests so far."""

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self._target = target
        self._session = session
        self.url = ""
        self.rule: Rule | None = None
        self.bulks: list[Bulk] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path.endswith("/_bulk") and body.startswith(b'{"index"'):  # else it only looks documents up
            bulk = Bulk(self, request, body)
            self.bulks.append(bulk)
            if self.rule and (answer := await self.rule(bulk)) is not None:
                return answer
        return await self.forward(request, body)

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() in PASSED_ON}
        async with self._session.request(
            request.method, f"{self._target}{request.path_qs}", data=body, headers=headers
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() in PASSED_BACK}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    @classmethod
    @asynccontextmanager
    async def before(cls, target: str) -> AsyncIterator["Front"]:
        """A front that listens on a free port."""
        async with aiohttp.ClientSession(auto_decompress=True) as session:
            front = cls(target, session)
            app = web.Application(client_max_size=200 * 1024 * 1024)
            app.router.add_route("*", "/{path:.*}", front.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            front.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            try:
                yield front
            finally:
                await runner.cleanup()


def status(number: int, error: str = "", reason: str = "said the front") -> Rule:
    """A rule that refuses every request, as Elasticsearch does with an error and as a gateway does without one."""

    async def answer(_bulk: Bulk) -> Answer:
        if not error:
            return page(number)
        content = msgspec.json.encode({"error": {"type": error, "reason": reason}, "status": number})
        return web.Response(status=number, body=content, content_type="application/json", headers=ELASTICSEARCH)

    return answer


def page(number: int = 200, text: str = "<html><body>sign in</body></html>") -> web.Response:
    """What a gateway answers."""
    return web.Response(status=number, text=text, content_type="text/html")


async def sleepy(bulk: Bulk, seconds: float) -> Answer:
    """Do what was asked, and answer late."""
    answer = await bulk.passed_on()
    await asyncio.sleep(seconds)
    return answer
