"""The guide's complete example, from its commands to the search and the audit."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.events import CREATED, DELETED, UPDATED, event, moment
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, environment
from fixtures.servers.processes import ROOT
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration

EXAMPLE = {
    "event_type": "transaction.created",
    "transaction": {
        "id": "uuid",
        "user_id": "user_123",
        "transaction_type": "card",
        "product": "Card",
        "status": "completed",
        "currency": "USD",
        "amount": 100.50,
        "created_at": "2024-01-01T12:00:00Z",
        "metadata": {"merchant_name": "Starbucks", "card_last_four": "1234"},
    },
    "timestamp": "2024-01-01T12:00:00Z",
    "source": "synthetic_data_generator",
}


@pytest.fixture
def worker(place: Place, tmp_path: Path) -> Iterator[Indexer]:
    """`python consumer_worker.py` with the guide's variables, and the names that keep this test apart from others."""
    variables = {
        "KAFKA_BOOTSTRAP_SERVERS": place.servers.kafka,
        "KAFKA_TRANSACTIONS_TOPIC": place.name,
        "KAFKA_CONSUMER_GROUP": place.group,
        "ELASTICSEARCH_URL": place.servers.elasticsearch_url,
        "REDIS_URL": place.servers.redis_url,
        "DATABASE_URL": place.database_url,
        "CONSUMER_BATCH_SIZE": "10",
        "CONSUMER_BATCH_TIMEOUT": "5.0",
        "CONSUMER_ENABLE_AUDIT_DB": "true",
    }
    apart = {"ELASTICSEARCH_INDEX": place.name, "CONSUMER_HTTP_PORT": "0"}
    unset = dict.fromkeys(place.variables(), "")
    process = Indexer(place, tmp_path / "worker.log", {**unset, **variables, **apart}, ["consumer_worker.py"])
    yield process
    process.end()


def run_script(place: Place, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "publish_test_data_to_kafka.py", *arguments],
        env=environment(place, {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def search(place: Place, text: str) -> list[dict[str, Any]]:
    """What `curl …/transactions/_search?q=…` finds."""
    await place.es.indices.refresh(index=place.name)
    answer = await place.es.search(index=place.name, q=text, size=1000, version=True)
    return list(answer["hits"]["hits"])


async def test_published_transactions_are_found_by_their_user_and_counted_in_the_audit(
    place: Place, worker: Indexer
) -> None:
    await worker.ready()
    await asyncio.to_thread(
        run_script,
        place,
        "--count",
        "60",
        "--user-id",
        "user_456",
        "--kafka-servers",
        place.servers.kafka,
        "--update-ratio",
        "0.2",
    )
    published = await place.records(place.name)
    assert {record.key for record in published} == {b"user_456"}
    outcomes = await worker.settled(len(published))
    assert set(outcomes) <= {"indexed", "updated", "late"}
    live = len(await search(place, "user_id:user_456"))
    assert live == len(await place.documents()) == 60

    async def audited() -> int:
        return int((await place.rows("SELECT COUNT(*) FROM transactions"))[0][0])

    assert await eventually(audited, live) == live
    assert worker.terminate() == 0


async def test_the_guides_message_becomes_a_document_with_version_and_enrichment(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    process = await indexer().ready()
    await place.publish([EXAMPLE], key="user_123")
    assert await process.settled(1) == {"indexed": 1}
    (hit,) = await search(place, "user_id:user_123")
    source = hit["_source"]
    assert EXAMPLE["transaction"].items() <= source.items()
    assert hit["_id"] == "uuid"
    assert hit["_version"] == 1_704_110_400_000_000 << 10
    assert source["_updated_at"] == "2024-01-01T12:00:00Z"
    assert source["_enriched"] is True
    assert source["_enriched_at"].endswith("Z")
    assert source["enrichment"]["merchant"]
    assert "starbucks" in source["search_content"]
    assert await search(place, "search_content:STARBUCKS") == await search(place, "user_id:user_123")


async def test_created_updated_and_deleted_events_do_as_they_say(place: Place, indexer: Callable[..., Indexer]) -> None:
    process = await indexer().ready()
    await place.publish([event("a"), event("b"), event("c")])
    await process.settled(3)
    await place.publish([event("b", UPDATED, moment(1), status="refunded"), event("c", DELETED, moment(1))])
    assert await process.settled(5) == {"indexed": 3, "updated": 1, "deleted": 1}
    found = {hit["_id"]: hit for hit in await search(place, "user_id:user_1")}
    assert {identifier: hit["_source"]["status"] for identifier, hit in found.items()} == {
        "a": "completed",
        "b": "refunded",
    }
    assert found["b"]["_version"] > found["a"]["_version"]
    assert found["b"]["_source"]["_updated_at"] == moment(1)


async def test_a_deletion_needs_no_more_than_the_ids(place: Place, indexer: Callable[..., Indexer]) -> None:
    process = await indexer().ready()
    await place.publish([event("a")])
    await process.settled(1)
    removal = {"event_type": DELETED, "transaction": {"id": "a", "user_id": "user_1"}, "timestamp": moment(9)}
    await place.publish([removal])
    await process.settled(2)
    assert await place.documents() == {}


async def test_a_repeated_message_is_a_duplicate_also_for_another_instance(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    first = await indexer().ready()
    await place.publish([event("a")])
    await first.settled(1)
    await place.publish([event("a")])
    assert await first.settled(2) == {"indexed": 1, "duplicate": 1}
    assert await first.metric("dedup_hits_total", level="memory") == 1
    assert first.terminate() == 0
    second = await indexer().ready()
    await place.publish([event("a")])
    assert await second.settled(1) == {"duplicate": 1}
    assert await second.metric("dedup_hits_total", level="redis") == 1


async def test_redis_keeps_a_message_id_for_24_hours(place: Place, indexer: Callable[..., Indexer]) -> None:
    from redis.asyncio import Redis

    process = await indexer().ready()
    await place.publish([event("a")])
    await process.settled(1)
    async with Redis.from_url(place.servers.redis_url) as redis:

        async def lifetimes() -> list[int]:
            ids = [key async for key in redis.scan_iter(f"{place.name}:*") if not key.endswith(b":offsets")]
            return [await redis.ttl(key) for key in ids]

        (lifetime,) = await eventually(lifetimes, bool)
    assert 86_300 < lifetime <= 86_400


async def test_at_the_default_batch_size_a_backlog_travels_in_large_requests(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    """Also Redis is asked per request. The numbers are counted and no times, since a machine may be slow."""
    await place.publish(event(f"t{number}") for number in range(4000))
    process = await indexer(CONSUMER_BATCH_SIZE="10", CONSUMER_BATCH_TIMEOUT="5.0").ready()
    assert await process.settled(4000) == {"indexed": 4000}
    requests = await process.metric("batch_events_count")
    assert requests <= 40, "at least 100 events each"
    assert await process.metric("bulk_requests_total", outcome="done") == requests
    for operation in ("seen", "mark"):
        called = await process.metric("dependency_call_duration_seconds_count", dependency="redis", operation=operation)
        assert called <= requests


async def test_each_event_has_the_guides_log_line_at_debug_level_and_no_payload(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    process = await indexer(CONSUMER_LOG_LEVEL="debug").ready()
    await place.publish([event("a", metadata={"merchant_name": "Secret Shop"})])
    await process.settled(1)
    (line,) = process.logged("Processing transaction message")
    assert line["event_type"] == CREATED
    assert line["transaction_id"] == "a"
    assert len(line["message_id"]) == 32
    assert line["timestamp"].endswith("Z")
    assert line["level"] in ("debug", "info")
    assert "Secret Shop" not in process.log.read_text()


async def test_at_info_level_there_is_a_line_for_each_batch_and_none_for_an_event(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    process = await indexer().ready()
    await place.publish([event(f"t{number}") for number in range(5)])
    await process.settled(5)
    assert process.logged("Processing transaction message") == []
    assert sum(line["indexed"] for line in process.logged("batch.settled")) == 5
    assert "t3" not in process.log.read_text()


async def test_a_batch_goes_when_it_is_full_or_old(place: Place, indexer: Callable[..., Indexer]) -> None:
    process = await indexer(CONSUMER_BATCH_SIZE="10", CONSUMER_BATCH_TIMEOUT="1.5").ready()
    await place.publish([event(f"t{number}") for number in range(25)])
    await process.settled(20, timeout=30)
    await process.settled(25, timeout=30)
    *full, old = [line["events"] for line in process.logged("batch.settled")]
    assert (sum(full), old) == (20, 5)
    assert {events % 10 for events in full} == {0}, "full batches, together or not"


async def test_all_events_of_a_user_are_in_one_partition(place: Place) -> None:
    await asyncio.to_thread(run_script, place, "--count", "20", "--user-id", "user_789")
    assert len({record.partition for record in await place.records(place.name)}) == 1


async def test_without_the_audit_no_database_is_needed(place: Place, indexer: Callable[..., Indexer]) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    process = await indexer(CONSUMER_ENABLE_AUDIT_DB="false", DATABASE_URL=nowhere).ready()
    await place.publish([event("a")])
    assert await process.settled(1) == {"indexed": 1}


def test_wrong_settings_stop_the_start_and_name_the_variable(place: Place, tmp_path: Path) -> None:
    wrong = {"CONSUMER_BATCH_SIZE": "many", "ELASTICSEARCH_URL": "elasticsearch", "REDIS_URL": "http://:secret@redis"}
    process = Indexer(place, tmp_path / "log", wrong)
    assert process.process.wait(60) == 2
    text = process.log.read_text()
    assert "CONSUMER_BATCH_SIZE" in text
    assert "'many'" in text
    assert "ELASTICSEARCH_URL" in text
    assert "REDIS_URL" in text
    assert "secret" not in text.replace("not shown", "")
