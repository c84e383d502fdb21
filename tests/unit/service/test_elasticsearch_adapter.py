"""Bulk requests on the wire, and answers in forms that are not Elasticsearch's."""

import base64
import gc
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from elastic_transport import ConnectionTimeout, HttpHeaders
from elastic_transport._models import ApiResponseMeta, NodeConfig
from elasticsearch import ApiError

from activity_indexer.adapters.elasticsearch import ElasticsearchIndex, mapped
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.settings import ElasticsearchSettings

BODY = b'{"index":{"_id":"a","version":1,"version_type":"external"}}\n{"id":"a"}\n'


@dataclass
class Server:
    """An HTTP server that answers all requests alike and keeps them."""

    status: int = 200
    body: bytes = b'{"errors":false}'
    content_type: str | None = "application/json"
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        headers = {"x-elastic-product": "Elasticsearch"}
        if self.content_type:
            headers["content-type"] = self.content_type
        return web.Response(status=self.status, body=self.body, headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", found.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Callable[..., ElasticsearchIndex]]:
    made: list[ElasticsearchIndex] = []

    def make(**settings: Any) -> ElasticsearchIndex:
        url = f"http://127.0.0.1:{server.port}"
        made.append(ElasticsearchIndex(ElasticsearchSettings(**{"url": url, "index": "t", **settings}), {}))
        return made[-1]

    yield make
    for index in made:
        await index.stop()


async def test_a_request_is_the_very_bytes_to_the_alias(server: Server, connect: Any) -> None:
    reply = await connect().bulk(BODY)
    (path, headers, body) = server.requests[0]
    assert path.startswith("/t/_bulk?require_alias=true&filter_path=errors,")
    assert "x-ndjson" in headers["Content-Type"]
    assert "Authorization" not in headers
    assert body == BODY
    assert (reply.status, reply.body) == (200, b'{"errors":false}')


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ({"username": "u", "password": "p"}, "Basic " + base64.b64encode(b"u:p").decode()),
        ({"api_key": "abc"}, "ApiKey abc"),
    ],
)
async def test_a_request_carries_the_login(server: Server, connect: Any, login: dict[str, str], expected: str) -> None:
    await connect(**login).bulk(BODY)
    assert server.requests[0][1]["Authorization"] == expected


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"error":{"type":"t","reason":"r"}}'),
        ("application/json", b"not JSON"),
        ("application/json; charset=UTF-8", b"{}"),
        ("application/vnd.elasticsearch+json;compatible-with=9", b"{}"),
        ("text/html", b"<html>too large</html>"),
        ("text/plain; charset=utf-8", b"upstream connect error"),
        ("application/xml", b"<Error/>"),
        ("application/octet-stream", b"\xff\x00"),
        (None, b""),
    ],
)
async def test_every_answer_comes_back_once_with_its_status_and_bytes(
    server: Server, connect: Any, status: int, content_type: str | None, body: bytes
) -> None:
    server.status, server.content_type, server.body = status, content_type, body
    reply = await connect().bulk(BODY)
    assert (reply.status, reply.body) == (status, body)
    assert len(server.requests) == 1, "the policy of retries is the writer's"


async def test_no_connection_is_unavailable(connect: Any) -> None:
    index = connect(url="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="Elasticsearch"):
        await index.bulk(BODY)
    with pytest.raises(Unavailable, match="Elasticsearch"):
        await index.prepare()


async def test_no_answer_in_time_is_unavailable(server: Server, connect: Any) -> None:
    index = connect(request_timeout=0.000001)
    with pytest.raises(Unavailable, match="Elasticsearch"):
        await index.bulk(BODY)


def failure(status: int) -> ApiError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "x", 1))
    return ApiError("message", meta, {"error": json.dumps("why")})


@pytest.mark.parametrize(("status", "expected"), [(401, Refused), (403, Refused), (400, Refused), (429, Unavailable)])
def test_a_refusal_needs_people_and_push_back_needs_time(status: int, expected: type[Exception]) -> None:
    assert type(mapped(failure(status))) is expected


def test_a_timeout_is_unavailable() -> None:
    assert type(mapped(ConnectionTimeout("late"))) is Unavailable


async def test_a_body_that_could_not_be_sent_is_let_go_of_at_once() -> None:
    index = ElasticsearchIndex(ElasticsearchSettings(url="http://127.0.0.1:1", index="t"), {})
    body = b"".join([BODY] * 100)
    held = sys.getrefcount(body)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with pytest.raises(Unavailable):
                await index.bulk(body)
        assert sys.getrefcount(body) == held
    finally:
        gc.enable()
        await index.stop()
