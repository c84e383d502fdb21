"""Bulk requests on the wire, and answers in forms that are not Elasticsearch's."""

import base64
import gc
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from elastic_transport import ApiError, ConnectionTimeout, HttpHeaders, TransportError
from elastic_transport._models import ApiResponseMeta, NodeConfig

from activity_indexer.adapters.elasticsearch.bulk import ElasticsearchIndex
from activity_indexer.adapters.elasticsearch.node import Node, nodes
from activity_indexer.adapters.elasticsearch.transport import ElasticsearchTransport, mapped
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.ports import BulkReply
from activity_indexer.settings import ElasticsearchSettings

BODY = b'{"index":{"_id":"a","version":1,"version_type":"external"}}\n{"id":"a"}\n'


@dataclass
class Server:
    """An HTTP server that answers all requests alike and keeps them."""

    status: int = 200
    body: bytes = b'{"errors":false}'
    content_type: str | None = "application/json"
    product: str = "Elasticsearch"
    more: dict[str, str] = field(default_factory=dict)
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        headers = dict(self.more)
        if self.product:
            headers["x-elastic-product"] = self.product
        if self.content_type:
            headers["content-type"] = self.content_type
        return web.Response(status=self.status, body=self.body, headers=headers)


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Server]:
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with started(Server()) as found:
        yield found


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
    assert (headers["Content-Type"], headers["Accept"]) == ("application/x-ndjson", "application/json")
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
    ],
)
async def test_an_answer_of_elasticsearch_comes_back_once_with_its_status_and_bytes(
    server: Server, connect: Any, status: int, content_type: str, body: bytes
) -> None:
    server.status, server.content_type, server.body = status, content_type, body
    reply = await connect().bulk(BODY)
    assert (reply.status, reply.body) == (status, body)
    assert len(server.requests) == 1, "the policy of retries is the writer's"


HTML = b"<html><head><title>Login</title></head><body>sign\n in</body></html>"
FOREIGN = [
    *((status, "text/html", "", HTML) for status in (200, 302, 400, 404, 405, 407, 410, 499, 500, 503, 507, 522, 530)),
    (200, "application/json", "", b"{}"),
    (200, "application/json", "", b'{"errors":false}'),
    (200, "text/html", "Elasticsearch", HTML),
    (204, None, "", b""),
    (308, "application/json", "Elasticsearch", b"{}"),
    (200, "application/octet-stream", "", b"\xff\x00"),
    (200, "audio/x", "", b"x"),
    (200, "nonsense", "", b"x"),
]


@pytest.mark.parametrize(("status", "content_type", "product", "body"), FOREIGN)
async def test_an_answer_of_anything_else_is_none_and_what_it_was_is_reported(
    server: Server, connect: Any, status: int, content_type: str | None, product: str, body: bytes
) -> None:
    server.status, server.content_type, server.product, server.body = status, content_type, product, body
    with pytest.raises(Unavailable) as caught:
        await connect().bulk(BODY)
    text = str(caught.value)
    assert f"{status}" in text
    assert "not an answer of Elasticsearch" in text
    assert "<" not in text
    if body == HTML:
        assert "Login sign in" in text


@pytest.mark.parametrize("status", [401, 403, 413])
async def test_a_login_or_a_limit_of_a_gateway_is_handed_on_with_its_text(
    server: Server, connect: Any, status: int
) -> None:
    server.status, server.content_type, server.product, server.body = status, "text/html", "", HTML
    reply = await connect().bulk(BODY)
    assert reply.status == status
    assert b"Login sign in" in reply.body


async def test_elasticsearch_that_refuses_a_login_does_not_name_itself(server: Server, connect: Any) -> None:
    error = {"type": "security_exception", "reason": "missing authentication credentials", "root_cause": []}
    server.status, server.product, server.body = 401, "", json.dumps({"error": error, "status": 401}).encode()
    assert await connect().bulk(BODY) == BulkReply(401, server.body)
    server.status = 400
    with pytest.raises(Unavailable, match="not an answer of Elasticsearch"):
        await connect().bulk(BODY)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_its_goal_is_reported(server: Server, connect: Any, status: int) -> None:
    goal = f"http://localhost:{server.port}/elsewhere"
    server.status, server.body, server.more = status, b"", {"location": f"{goal}?token=secret"}
    index = connect(username="u", password="p")
    with pytest.raises(Unavailable, match=f"to {goal}") as caught:
        await index.bulk(BODY)
    assert "secret" not in str(caught.value)
    with pytest.raises(Unavailable):
        await index.prepare()
    assert not [path for path, _, _ in server.requests if "elsewhere" in path]


@pytest.mark.parametrize(
    ("body", "content_type", "product", "expected"),
    [
        ({"version": {"number": "7.17.9"}}, "application/json", "Elasticsearch", "got Elasticsearch 7.17.9"),
        ({"version": {"number": "10.0.0"}}, "application/json", "Elasticsearch", "got Elasticsearch 10.0.0"),
        ({"version": {"number": "7.10.2"}}, "application/json", "", "Elasticsearch 7.10.2"),
        ({"version": {"number": "2.19.0", "distribution": "opensearch"}}, "application/json", "", "OpenSearch 2.19.0"),
        ({}, "application/json", "Elasticsearch", "names no version"),
        ({"version": 9}, "application/json", "Elasticsearch", "names no version"),
        ([], "application/json", "Elasticsearch", "names no version"),
        ("<html>portal</html>", "text/html", "", "200 OK, not an answer of Elasticsearch: portal"),
        ("<html>portal</html>", "text/html", "Elasticsearch", "not an answer of Elasticsearch: portal"),
    ],
)
async def test_another_product_or_version_is_refused_by_name_and_number(
    server: Server, connect: Any, body: Any, content_type: str, product: str, expected: str
) -> None:
    server.body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    server.content_type, server.product = content_type, product
    with pytest.raises(Refused) as caught:
        await connect().prepare()
    assert expected in str(caught.value)


async def test_every_request_speaks_plain_json_which_version_8_takes(server: Server, connect: Any) -> None:
    server.body = json.dumps({"version": {"number": "8.19.0"}}).encode()
    with pytest.raises(Exception, match=r"."):
        await connect().prepare()
    assert len(server.requests) > 1, "the version is taken"
    for _, headers, _ in server.requests:
        assert "compatible-with" not in headers.get("Accept", "") + headers.get("Content-Type", "")


async def test_who_may_not_ask_for_the_version_is_not_kept_from_working(server: Server, connect: Any) -> None:
    server.status, server.body = 403, b'{"error":{"type":"security_exception","reason":"no"},"status":403}'
    with pytest.raises(Refused, match="403"):
        await connect().prepare()
    assert len(server.requests) > 1


async def test_a_path_and_the_login_of_a_url_are_used(server: Server, connect: Any) -> None:
    await connect(url=f"http://me:p%40ss@127.0.0.1:{server.port}/es/prefix/").bulk(BODY)
    path, headers, _ = server.requests[0]
    assert path.startswith("/es/prefix/t/_bulk?")
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a", ["http://a:80"]),
        ("https://a, https://b:9243/es/", ["https://a:443", "https://b:9243/es"]),
        ("http://[::1]:9200", ["http://[::1]:9200"]),
    ],
)
def test_nodes_have_the_port_of_their_scheme(url: str, expected: list[str]) -> None:
    found = nodes(ElasticsearchSettings(url=url, verify_certs=False))
    assert [Node(each).base_url for each in found] == expected


async def test_no_connection_is_unavailable(connect: Any) -> None:
    index = connect(url="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="Elasticsearch"):
        await index.bulk(BODY)
    with pytest.raises(Unavailable, match="Elasticsearch"):
        await index.prepare()


async def failures(index: Any) -> int:
    """How many of ten requests fail."""
    failed = 0
    for _ in range(10):
        try:
            await index.bulk(BODY)
        except Unavailable:
            failed += 1
    return failed


async def test_a_node_that_fails_is_left_alone_for_a_while(server: Server, connect: Any) -> None:
    index = connect(url=f"http://127.0.0.1:1,http://127.0.0.1:{server.port}")
    assert (await failures(index), len(server.requests)) in {(0, 10), (1, 9)}


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_node_that_is_busy_is_left_alone_for_a_while_where_there_is_another(
    server: Server, connect: Any, status: int
) -> None:
    other = Server(status=status)
    async with started(other):
        index = connect(url=f"http://127.0.0.1:{other.port},http://127.0.0.1:{server.port}")
        statuses = [(await index.bulk(BODY)).status for _ in range(10)]
    assert statuses.count(status) <= 1
    assert statuses.count(200) == len(server.requests) >= 9


async def test_a_node_behind_a_gateway_that_answers_for_it_is_left_alone_too(server: Server, connect: Any) -> None:
    gateway = Server(status=502, product="")
    async with started(gateway):
        index = connect(url=f"http://127.0.0.1:{gateway.port},http://127.0.0.1:{server.port}")
        assert (await failures(index), len(server.requests)) in {(0, 10), (1, 9)}


async def test_a_question_that_is_not_answered_with_json_is_unavailable(server: Server) -> None:
    server.body = b"not JSON"
    transport = ElasticsearchTransport(ElasticsearchSettings(url=f"http://127.0.0.1:{server.port}"))
    with pytest.raises(TransportError) as caught:
        await transport.perform_request("GET", "/")
    assert type(mapped(caught.value)) is Unavailable
    await transport.close()


@pytest.mark.parametrize(
    ("body", "message", "reported"),
    [
        (b'{"error":{"type":"t","reason":"r"},"status":400}', "t", "Elasticsearch answers 400: t: r"),
        (b'{"error":"words"}', "words", "Elasticsearch answers 400: words"),
        (b"not JSON", "b'not JSON'", "Elasticsearch answers 400: not JSON"),
    ],
)
async def test_the_error_of_a_question_is_the_full_clients(
    server: Server, body: bytes, message: str, reported: str
) -> None:
    server.status, server.body = 400, body
    transport = ElasticsearchTransport(ElasticsearchSettings(url=f"http://127.0.0.1:{server.port}"))
    with pytest.raises(ApiError) as caught:
        await transport.perform_request("GET", "/")
    assert (caught.value.message, str(mapped(caught.value))) == (message, reported)
    await transport.close()


async def test_no_answer_in_time_is_unavailable(server: Server, connect: Any) -> None:
    index = connect(request_timeout=0.000001)
    with pytest.raises(Unavailable, match="Elasticsearch"):
        await index.bulk(BODY)


def failure(status: int) -> ApiError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "x", 1))
    return ApiError("message", meta, {"error": json.dumps("why")})


@pytest.mark.parametrize(("status", "expected"), [(401, Refused), (403, Refused), (400, Refused), (429, Unavailable)])
def test_a_refusal_needs_an_operator_and_push_back_needs_time(status: int, expected: type[Exception]) -> None:
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
