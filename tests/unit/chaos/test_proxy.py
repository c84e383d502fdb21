"""The server between: it passes everything on as it is, and makes each trouble so that a client sees it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from chaos.proxy import (
    Proxy,
    Trouble,
    half_closing,
    paging,
    refusing,
    refusing_items,
    resetting,
    silent,
    slow,
    sometimes,
)

LINES = b'{"index":{"_id":"a"}}\n{"n":1}\n{"index":{"_id":"b"}}\n{"n":2}\n{"index":{"_id":"c"}}\n{"n":3}\n'


class Behind:
    """A server that keeps what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.queries: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.read())
        self.queries.append(request.query_string)
        if request.path.endswith("/_bulk"):
            count = len(self.bodies[-1].splitlines()) // 2
            return web.json_response({"errors": False, "items": [{"index": {"status": 201}}] * count})
        if request.path == "/chunked":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for part in (b"some ", b"more ", b"text"):
                await response.write(part)
            return response
        return web.Response(status=404 if request.path == "/absent" else 200, text="passed on")


@asynccontextmanager
async def between(trouble: Trouble | None = None) -> AsyncIterator[tuple[Behind, Proxy, aiohttp.ClientSession]]:
    behind = Behind()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", behind.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Proxy.before(target) as proxy, aiohttp.ClientSession(proxy.url) as session:
            proxy.trouble = trouble or proxy.trouble
            yield behind, proxy, session
    finally:
        await runner.cleanup()


async def test_requests_and_answers_pass_as_they_are() -> None:
    async with between() as (behind, _, session):
        for path, text in (("/one", "passed on"), ("/chunked", "some more text"), ("/two?q=3", "passed on")):
            async with session.post(path, data=b"\x00body") as answer:
                assert await answer.text() == text
        assert behind.bodies == [b"\x00body"] * 3
        assert behind.queries == ["", "", "q=3"]


async def test_a_question_for_the_head_alone_has_no_body_and_the_next_request_is_answered() -> None:
    async with between() as (_, _, session):
        async with session.head("/absent") as answer:
            assert answer.status == 404
        async with session.get("/there") as answer:
            assert await answer.text() == "passed on"


async def test_a_refused_request_never_arrives() -> None:
    async with between(refusing(429, "es_rejected_execution_exception")) as (behind, _, session):
        async with session.post("/i/_bulk", data=LINES) as answer:
            assert answer.status == 429
            assert (await answer.json())["error"]["type"] == "es_rejected_execution_exception"
        assert behind.bodies == []


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
async def test_refused_documents_are_answered_in_their_places_and_the_others_are_passed_on(share: float) -> None:
    async with between(refusing_items(share, 429, "busy")) as (behind, _, session):
        async with session.post("/i/_bulk?filter_path=errors&x=1", data=LINES) as answer:
            items = msgspec.json.decode(await answer.read())["items"]
        arrived = b"".join(behind.bodies)
        for name, item in zip("abc", items, strict=True):
            assert (f'"{name}"'.encode() in arrived) == (item["index"]["status"] == 201)
        assert set(behind.queries) <= {"x=1"}


async def test_a_gateways_page_is_not_elasticsearchs_and_what_was_asked_may_be_done_all_the_same() -> None:
    async with between(paging) as (behind, proxy, client):
        statuses = set()
        for _ in range(60):
            async with client.post(f"{proxy.url}/_bulk", data=LINES, allow_redirects=False) as answer:
                assert "x-elastic-product" not in answer.headers
                statuses.add(answer.status)
        assert {200, 302, 407, 520} <= statuses
        assert 0 < len(behind.bodies) < 60


async def test_a_slow_answer_comes_late() -> None:
    loop = asyncio.get_running_loop()
    async with between(slow(0.2)) as (_, _, session):
        began = loop.time()
        async with session.post("/i/_bulk", data=LINES) as answer:
            assert answer.status == 200
        assert loop.time() - began >= 0.2


@pytest.mark.parametrize("trouble", [resetting, half_closing])
async def test_a_broken_connection_is_an_error_and_the_next_one_works(trouble: Trouble) -> None:
    async with between(trouble) as (_, proxy, session):
        with pytest.raises(aiohttp.ClientError):
            async with session.post("/i/_bulk", data=LINES) as answer:
                await answer.read()
        proxy.trouble = sometimes(0.0, trouble)
        async with session.post("/i/_bulk", data=LINES) as answer:
            assert answer.status == 200


async def test_a_reset_is_a_reset_and_no_end() -> None:
    async with between(resetting) as (_, proxy, _):
        host, port = proxy.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /i/_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_silence_lasts_until_the_client_has_enough() -> None:
    async with between(silent) as (behind, _, session):
        with pytest.raises(TimeoutError):
            async with session.post("/i/_bulk", data=LINES, timeout=aiohttp.ClientTimeout(0.3)):
                pass
        assert behind.bodies == [LINES]


async def test_a_server_that_is_unavailable_behind_is_unavailable_in_front() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with Proxy.before(target) as proxy, aiohttp.ClientSession(proxy.url) as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get("/")


async def test_trouble_is_made_for_a_share_of_the_bulk_requests_and_the_same_for_a_seed() -> None:
    async def outcomes(seed: int) -> list[int]:
        async with between(sometimes(0.5, refusing(503, "away"))) as (_, proxy, session):
            proxy.rng.seed(seed)
            found = []
            for _ in range(30):
                async with session.post("/i/_bulk", data=LINES) as answer:
                    found.append(answer.status)
            async with session.get("/other") as answer:
                assert answer.status == 200
            return found

    first = await outcomes(1)
    assert set(first) == {200, 503}
    assert first == await outcomes(1)
