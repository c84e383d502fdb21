import time

import aiohttp
import pytest

from activity_indexer.errors import Refused
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.http import HttpServer
from activity_indexer.telemetry.metrics.indexer import Metrics


@pytest.fixture
def health():
    return Health(time.monotonic, 120.0)


@pytest.fixture
async def url(health):
    server = HttpServer("127.0.0.1", 0, health, Metrics())
    port = await server.start()
    yield f"http://127.0.0.1:{port}"
    await server.stop()


@pytest.fixture
async def client(url):
    async with aiohttp.ClientSession(url) as session:
        yield session


async def answer(client, path):
    async with client.get(path) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def test_a_good_answer_is_200(client, health):
    health.started()
    health.assigned(1)
    for path in ("/livez", "/readyz", "/startupz"):
        assert await answer(client, path) == (200, {"status": "ok", "reasons": [], "facts": []})


async def test_a_bad_answer_is_503_with_reasons(client):
    status, body = await answer(client, "/startupz")
    assert (status, body["status"], body["reasons"]) == (503, "failing", ["starting"])


async def test_the_facts_behind_an_answer_say_since_when_and_what_to_do(client, health):
    before = time.time()
    health.started()
    health.assigned(1)
    health.blocked("topic_missing", "topic transactions does not exist", advice="create it")
    status, body = await answer(client, "/readyz")
    assert status == 503
    (fact,) = body["facts"]
    assert before <= fact.pop("since") <= time.time()
    assert fact == {
        "code": "topic_missing",
        "severity": "blocks",
        "reason": "topic transactions does not exist",
        "subject": "",
        "advice": "create it",
    }


async def test_reasons_hold_no_secrets(client, health):
    health.blocked("elasticsearch", "http://elastic:hunter2@es:9200 answers 401")
    _, body = await answer(client, "/readyz")
    assert "hunter2" not in str(body)
    assert "answers 401" in str(body)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/metrics"])
async def test_head_is_answered_without_a_body(client, path):
    async with client.head(path) as response:
        assert response.status in (200, 503)
        assert await response.read() == b""


async def test_metrics_are_text_and_openmetrics_on_demand(client):
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert b"activity_indexer_build_info{" in await response.read()
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with client.get("/metrics", headers=accept) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.read()).endswith(b"# EOF\n")


async def test_other_paths_and_methods_are_refused_in_json(client):
    assert await answer(client, "/nope") == (404, {"status": "error", "reasons": ["/nope: not found"]})
    async with client.post("/livez") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
        assert (await response.json())["status"] == "error"


async def test_a_port_that_is_taken_is_refused_by_the_name_of_its_setting(url, health):
    port = int(url.rpartition(":")[2])
    other = HttpServer("127.0.0.1", port, health, Metrics())
    with pytest.raises(Refused, match=rf"CONSUMER_HTTP_PORT: cannot listen on 127.0.0.1:{port}"):
        await other.start()


async def test_an_address_of_another_machine_is_refused(health):
    with pytest.raises(Refused, match="CONSUMER_HTTP_HOST"):
        await HttpServer("192.0.2.1", 0, health, Metrics()).start()


async def test_stop_frees_the_port_and_may_be_repeated(health):
    server = HttpServer("127.0.0.1", 0, health, Metrics())
    await server.stop()
    port = await server.start()
    await server.stop()
    await server.stop()
    again = HttpServer("127.0.0.1", port, health, Metrics())
    assert await again.start() == port
    await again.stop()
