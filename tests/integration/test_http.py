"""Health and metrics on one port, over the life of an indexer."""

import asyncio
import json
import os
import resource
import signal
import socket
from collections.abc import Callable

import pytest
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
PROBES = ("/livez", "/readyz", "/startupz")


async def statuses(process: Indexer) -> list[int]:
    return [(await process.get(path))[0] for path in PROBES]


async def test_probes_over_a_lifetime(place: Place, indexer: Start) -> None:
    """Starting: alive only. Working: all good. Ending: alive, not ready."""
    waiting = indexer(ELASTICSEARCH_URL="http://127.0.0.1:1")
    assert await eventually(lambda: statuses(waiting), [200, 503, 503]) == [200, 503, 503]
    assert json.loads((await waiting.get("/readyz"))[1])["status"] == "failing"
    reasons = await eventually(waiting.reasons, lambda found: "elasticsearch" in str(found))
    assert "elasticsearch" in str(reasons)
    assert waiting.terminate() == 0

    process = await indexer(CONSUMER_SHUTDOWN_TIMEOUT="6").ready()
    assert await statuses(process) == [200, 200, 200]
    assert json.loads((await process.get("/readyz"))[1]) == {"status": "ok", "reasons": [], "facts": []}
    await place.es.indices.put_settings(index=place.index, settings={"blocks.write": True})
    await place.publish([event("a")])
    await eventually(lambda: process.metric("retries_total"), bool)
    process.process.send_signal(signal.SIGTERM)
    assert "draining" in await eventually(process.reasons, lambda found: "draining" in found, timeout=5, every=0.05)
    assert (await process.get("/livez"))[0] == 200
    assert process.terminate() == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", await process.port()), 1)


async def test_metrics_say_what_was_done(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.publish([event("a"), event("a"), event("b"), b"bad", None])
    assert await process.settled(5) == {"indexed": 2, "duplicate": 1, "dead_lettered": 2}
    assert await process.metric("events_consumed_total") == 5
    assert await process.metric("events_total", outcome="indexed", event_type="transaction.created") == 2
    assert await process.metric("events_total", outcome="dead_lettered", event_type="invalid") == 2
    assert await process.metric("dead_letters_total", stage="decode") == 2
    assert await process.metric("batch_events_sum") == 5
    assert await process.metric("batch_duration_seconds_count") >= 1
    for stage in ("decode", "dedup", "enrich", "bulk", "settle"):
        assert await process.metric("stage_duration_seconds_count", stage=stage) >= 1, stage
    assert await process.metric("event_age_seconds_count") == 2
    assert await process.metric("bulk_requests_total", outcome="done") >= 1
    assert await process.metric("assigned_partitions") == 3
    for dependency in ("kafka", "elasticsearch", "redis"):
        assert await process.metric("dependency_up", dependency=dependency) == 1, dependency
    assert await process.metric("in_flight_bulk_requests") == 0
    assert await process.metric("buffered_events") == 0
    await eventually(lambda: process.metric("committed_offset"), 5)

    async def partitions_with_lag() -> int:
        return (await process.get("/metrics"))[1].count("activity_indexer_consumer_lag_events{")

    await eventually(partitions_with_lag, 3)
    assert await process.metric("consumer_lag_events") == 0


async def test_metrics_are_in_prometheus_form_and_have_help_and_type(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.publish([event("a")])
    await process.settled(1)
    _, text = await process.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    own = {name: family for name, family in families.items() if name.startswith("activity_indexer_")}
    assert len(own) > 25
    assert [name for name, family in own.items() if not family.documentation] == []
    assert "process_cpu_seconds" in families


async def test_lag_is_shown_while_events_wait(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.es.indices.put_settings(index=place.index, settings={"blocks.write": True})
    await place.publish([event(f"t{number}") for number in range(40)])
    assert await eventually(lambda: process.metric("consumer_lag_events"), 40) == 40
    await place.es.indices.put_settings(index=place.index, settings={"blocks.write": False})
    await eventually(lambda: process.metric("consumer_lag_events"), 0)


async def test_other_paths_and_methods_are_refused(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    assert (await process.get("/nothing"))[0] == 404
    assert (await process.get("/metrics/x"))[0] == 404


async def test_a_port_that_is_taken_stops_the_start_and_names_the_setting(place: Place, indexer: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = indexer(CONSUMER_HTTP_PORT=str(taken.getsockname()[1]))
        assert process.process.wait(60) == 1
    assert "CONSUMER_HTTP_PORT" in process.log.read_text()


async def test_strangers_who_send_half_a_request_take_no_descriptors_from_the_indexer(
    place: Place, indexer: Start
) -> None:
    """Three times as many connections as the process may have files; probes, Elasticsearch and Redis go on."""
    process = await indexer(CONSUMER_BATCH_TIMEOUT="0.1").ready()
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (192, 192))
    port = await process.port()
    strangers = []
    try:
        for _ in range(600):
            stranger = socket.create_connection(("127.0.0.1", port), 10)
            stranger.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            strangers.append(stranger)
        await place.publish([event(f"t{number}") for number in range(50)])
        assert await process.settled(50) == {"indexed": 50}
        for node in ("kafka", "elasticsearch", "redis"):
            assert await process.metric("dependency_up", dependency=node) == 1, node
        assert await statuses(process) == [200, 200, 200]
        assert len(await asyncio.to_thread(os.listdir, f"/proc/{process.process.pid}/fd")) < 150
        assert process.logged("redis.failed") == process.logged("elasticsearch.failed") == []
        assert process.logged("http.too_many_connections")
    finally:
        for stranger in strangers:
            stranger.close()
    assert process.terminate() == 0


async def test_without_descriptors_the_reason_names_what_the_system_says(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (8, 192))
    await place.publish([event("a")])
    found = await eventually(
        lambda: asyncio.to_thread(process.logged, "elasticsearch.failed"), lambda lines: lines, timeout=90
    )
    assert "Too many open files" in found[0]["reason"]
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (192, 192))
    assert await process.settled(1) == {"indexed": 1}
