"""The blackhole in place of Elasticsearch."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import urlsplit

import aiohttp
import pytest

from bench.sink import RESET, STATS, Connection, Counts, answer

LINES = b'{"index":{"_id":"1"}}\n{"a":1}\n'


class Behind(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        body = b"took " + self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-elastic-product", "Elasticsearch")
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elasticsearch() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def counts() -> Counts:
    return Counts(BytesIO())


@pytest.fixture
async def url(elasticsearch: str, counts: Counts) -> AsyncIterator[str]:
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(counts, urlsplit(elasticsearch)), "127.0.0.1", 0
    )
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def test_an_answer_holds_what_its_filter_asks_for():
    reported = json.loads(answer(2, "feed", "errors,took,items.*._index,items.*.status,items.*.error.type"))
    assert reported == {
        "errors": False,
        "took": 1,
        "items": [{"index": {"_index": "feed-000001", "status": 201}}] * 2,
    }


def test_an_answer_without_anything_of_its_items_has_none():
    assert json.loads(answer(3, "feed", "errors,items.*.error")) == {"errors": False}


def test_an_answer_without_a_filter_is_whole():
    reported = json.loads(answer(1, "feed", ""))
    assert reported["items"][0]["index"]["result"] == "created"
    assert reported["items"][0]["index"]["_index"] == "feed-000001"


async def test_documents_and_requests_are_counted_and_kept(url, client, counts):
    for documents in (3, 1):
        async with client.post(f"{url}/feed/_bulk?filter_path=errors,items.*.status", data=LINES * documents) as reply:
            assert len((await reply.json())["items"]) == documents
    async with client.get(url + STATS) as reply:
        stats = await reply.json()
    assert stats == {"documents": 4, "requests": 2, "bytes": 4 * len(LINES), "most_under_way": 1}
    assert counts.record is not None
    assert counts.record.getvalue() == b"".join(
        len(LINES * documents).to_bytes(8, "big") + LINES * documents for documents in (3, 1)
    )


async def test_counting_begins_again(url, client):
    async with client.post(f"{url}/feed/_bulk", data=LINES):
        pass
    async with client.get(url + RESET), client.get(url + STATS) as reply:
        assert (await reply.json())["documents"] == 0


async def test_a_body_may_come_in_pieces(url, counts):
    reader, writer = await asyncio.open_connection(*urlsplit(url).netloc.split(":"))
    request = b"POST /feed/_bulk HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(LINES), LINES)
    for at in range(0, len(request), 7):
        writer.write(request[at : at + 7])
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert counts.documents == 1
    writer.close()
    await writer.wait_closed()


async def test_everything_else_is_answered_by_elasticsearch(url, client, counts):
    async with client.put(f"{url}/feed-000001", data=b"a mapping") as reply:
        assert (reply.status, await reply.text()) == (201, "took a mapping")
    async with client.head(f"{url}/feed-000001") as reply:
        assert reply.status == 404
    async with client.post(f"{url}/v1/traces", data=b"spans") as reply:
        assert reply.status == 200
    assert counts.documents == 0
