import re
import time

import aiohttp
import pytest

from activity_indexer.facts import Severity
from activity_indexer.ports import Backlog
from activity_indexer.positions import Partition
from activity_indexer.reports import (
    AuditLagMeasured,
    Dependency,
    DependencyChanged,
    LagMeasured,
    OffsetsCommitted,
    PartitionsAssigned,
    Subscribers,
)
from activity_indexer.settings import load_settings
from activity_indexer.status_page.page import StatusPage
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.http import HttpServer
from activity_indexer.telemetry.metrics.indexer import Metrics


@pytest.fixture
def health():
    return Health(time.monotonic, 120.0)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def client(health, metrics, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/db")
    monkeypatch.setenv("KAFKA_TRANSACTIONS_TOPIC", "a.topic")
    server = HttpServer("127.0.0.1", 0, health, metrics, StatusPage(load_settings(), health, metrics))
    port = await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await server.stop()


async def text(client, path):
    async with client.get(path) as response:
        assert response.status == 200
        return await response.text()


async def status(client):
    async with client.get("/status.json") as response:
        return await response.json()


async def test_an_indexer_that_has_just_started_has_a_page(client):
    shown = await text(client, "/")
    assert "a.topic" in shown
    assert "not ready" in shown
    assert "the group has given it no partition" in shown


async def test_what_the_metrics_count_is_on_the_page(client, health, metrics):
    health.started()
    health.assigned(1)
    emit, place = Subscribers(metrics.indexer), Partition("transactions", 7)
    emit(PartitionsAssigned([place]))
    health.partition(7, lag_seconds=2.5, behind_transaction=1001, lost=250)
    emit(LagMeasured(place, 12_345))
    emit(OffsetsCommitted({place: 99}))
    emit(DependencyChanged(Dependency.REDIS, "away", Severity.WARNS))
    shown = await text(client, "/")
    assert '<span id="state" class="badge good">ready</span>' in shown
    assert "12\u202f345" in shown
    assert "does not answer" in shown
    found = await status(client)
    assert found["partitions"] == [
        {
            "partition": 7,
            "lag": 12_345,
            "committed": 99,
            "audit_lag": None,
            "audit_lag_seconds": None,
            "lag_seconds": 2.5,
            "behind_transaction": 1001,
            "lost": 250,
        }
    ]
    assert found["headline"]["lag"] == 12_345


async def test_facts_are_shown_with_their_beginning_and_without_secrets(client, health):
    health.started()
    health.assigned(1)
    before = time.time()
    health.warned("events_lost", "250 events at http://u:hunter2@h", subject="partition 7", advice="restore them")
    shown = await text(client, "/")
    assert "warning: events_lost (partition 7): 250 events" in shown
    assert time.strftime("since %H:%M", time.gmtime(before)) in shown
    (fact,) = (await status(client))["facts"]
    assert (fact["code"], fact["severity"], fact["advice"]) == ("events_lost", "warns", "restore them")
    assert before <= fact["since"] <= time.time()
    assert "hunter2" not in shown + str(fact)


async def test_the_age_of_the_oldest_event_that_waits_for_the_audit_is_on_the_page(client, metrics):
    lag = {Partition("transactions", 0): Backlog(3, 5.0), Partition("transactions", 1): Backlog(4, 7_500.0)}
    Subscribers(metrics.audit)(AuditLagMeasured(lag))
    shown = await text(client, "/")
    assert "the oldest 2.08 h old" in shown
    found = await status(client)
    assert (found["headline"]["audit_lag"], found["headline"]["audit_lag_seconds"]) == (7, 7_500.0)
    assert [row["audit_lag_seconds"] for row in found["partitions"]] == [5.0, 7_500.0]


async def test_reasons_are_text_without_secrets(client, health):
    health.blocked("elasticsearch", "<b>http://elastic:hunter2@es:9200</b> answers 401")
    shown = await text(client, "/")
    assert "answers 401" in shown
    assert "hunter2" not in shown
    assert "<b>http" not in shown


async def test_the_settings_show_no_secret(client):
    shown = await text(client, "/settings")
    assert "DATABASE_URL" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("path", ["/", "/settings", "/status.json"])
async def test_the_page_is_read_only_and_loads_nothing_from_elsewhere(client, path):
    async with client.post(path) as response:
        assert response.status == 405
    async with client.get(path) as response:
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        loading = re.compile(r"<(script|img|link|iframe|object)|@import|url[(]")
        assert not loading.search(await response.text())


async def test_without_the_setting_there_is_no_page(health, metrics):
    server = HttpServer("127.0.0.1", 0, health, metrics)
    port = await server.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session, session.get("/") as response:
        assert response.status == 404
    await server.stop()
