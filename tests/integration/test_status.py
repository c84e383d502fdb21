"""The status of real servers."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from fixtures.events import event
from fixtures.servers.commands import begun, called
from fixtures.servers.elasticsearch_front import Front, status
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration


async def test_a_system_that_runs_is_shown_as_it_is(place: Place, indexer: Callable[..., Indexer]) -> None:
    await place.publish([event(f"t{number}") for number in range(40)] + [b"no event", b"{}", b"{}"])
    running = indexer(CONSUMER_ENABLE_AUDIT_DB="true")
    await running.settled(43)
    await eventually(place.lag, 0)
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    await place.es.indices.refresh(index=place.name)
    done = await called(place, "status", "--json", "--interval", "1s")
    assert done.code == 0, done
    found = json.loads(done.stdout)
    assert (found["healthy"], found["problems"]) == (True, [])
    groups = {each["role"]: each for each in found["kafka"]["found"]["groups"]}
    assert set(groups) == {"indexer", "audit"}
    (member,) = groups["indexer"]["members"]
    address = f"http://127.0.0.1:{await running.port()}"
    assert member == {
        "clientId": "activity-indexer",
        "host": "127.0.0.1",
        "partitions": [0, 1, 2],
        "address": address,
    }
    (one,) = found["indexers"]
    assert (one["address"], one["members"]) == (address, ["activity-indexer", "activity-indexer.audit"])
    assert (one["answer"]["found"]["ready"], one["answer"]["found"]["facts"]) == (True, [])
    assert sorted(one["answer"]["found"]["partitions"]) == ["0", "1", "2"]
    assert groups["indexer"]["totalLag"] == 0
    topics = {each["role"]: each for each in found["kafka"]["found"]["topics"]}
    assert (topics["transactions"]["records"], topics["deadLetters"]["records"]) == (43, 3)
    assert (topics["transactions"]["partitions"], topics["parked"]["exists"]) == (3, False)
    index = found["elasticsearch"]["found"]
    assert (index["index"], index["documents"], index["tombstones"]) == (place.index, 40, 0)
    assert found["postgresql"]["found"]["transactions"] == {"rows": 40, "exact": True}
    assert found["deadLetters"]["found"]["total"] == found["deadLetters"]["found"]["sampled"] == 3
    assert {cause["stage"] for cause in found["deadLetters"]["found"]["causes"]} == {"decode", "validate"}
    assert found["kafka"]["found"]["version"][0].isdigit()
    assert found["redis"]["up"]


async def test_servers_that_are_unavailable_or_silent_hide_nothing_of_the_others(place: Place) -> None:
    connections: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    started = time.monotonic()
    done = await called(
        place,
        *("status", "--timeout", "2s", "--interval", "0.1s", "--json"),
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}",
        ELASTICSEARCH_URL=f"http://127.0.0.1:{port}",
        REDIS_URL="redis://127.0.0.1:1/0",
    )
    assert time.monotonic() - started < 60
    silent.close()
    await asyncio.sleep(0.1)  # those that it has accepted late
    for connection in connections:
        connection.close()
        await connection.wait_closed()
    found = json.loads(done.stdout)
    assert done.code == 7
    assert [found[each]["up"] for each in ("kafka", "elasticsearch", "redis", "postgresql", "deadLetters")] == [
        False, False, False, True, False,
    ]  # fmt: skip
    assert found["elasticsearch"]["reason"] == "no answer within 2 s"
    assert found["postgresql"]["found"]["transactions"] is None


async def members(place: Place, group: str) -> int:
    """Members of a group that is not being rebalanced."""
    found = (await place.admin.describe_consumer_groups([group]))[0].groups[0]
    return len(found[5]) if found[2] == "Stable" else 0


async def looked(place: Place, *arguments: str, audit: bool = False) -> tuple[int, list[str], dict[str, Any]]:
    """Exit code, problems and all that `status` found."""
    done = await called(
        place,
        "status",
        "--json",
        "--interval",
        "0.5s",
        "--timeout",
        "3s",
        *arguments,
        CONSUMER_ENABLE_AUDIT_DB=str(audit),
    )
    found = json.loads(done.stdout)
    return done.code, found["problems"], found


async def test_it_agrees_with_the_probes_of_an_indexer_that_is_blocked(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    async with Front.before(place.servers.elasticsearch_url) as front:
        running = await indexer(ELASTICSEARCH_URL=front.url).ready()
        front.rule = status(401, "security_exception", "no such user")
        await place.publish([event("t1")])
        await eventually(running.reasons, lambda found: found.startswith("503 elasticsearch: "))
        code, problems, found = await looked(place)
        assert code == 7
        (one,) = found["indexers"]
        assert (one["answer"]["found"]["ready"], one["answer"]["found"]["live"]) == (False, True)
        for reason in json.loads((await running.get("/readyz"))[1])["reasons"]:
            assert any(reason in problem and "since " in problem for problem in problems), (reason, problems)
        front.rule = None
        await running.settled(1)
        await eventually(place.lag, 0)
        assert (await looked(place))[:2] == (0, [])


async def test_an_indexer_that_has_never_joined_its_group_is_found_by_its_audit(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    running = indexer(ELASTICSEARCH_URL="http://127.0.0.1:1", CONSUMER_ENABLE_AUDIT_DB="true")
    await eventually(running.reasons, lambda found: "elasticsearch: " in found)
    await eventually(lambda: members(place, f"{place.group}.audit"), 1)
    code, problems, _ = await looked(place, audit=True)
    assert code == 7
    assert any("elasticsearch: " in problem for problem in problems), problems
    assert f"group {place.group} has no members: no indexer runs" in problems


async def test_an_audit_that_is_paused_is_reported_though_its_database_answers_here(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    running = await indexer(DATABASE_URL="postgresql://x:y@127.0.0.1:1/z", CONSUMER_ENABLE_AUDIT_DB="true").ready()
    await place.publish([event("t1")])
    await eventually(running.reasons, lambda found: found.startswith("200 warning: audit: it is paused"))
    await running.settled(1)
    code, problems, _ = await looked(place, audit=True)
    assert code == 7
    assert any("warning: audit: it is paused" in problem for problem in problems), problems


async def test_it_reports_what_an_indexer_waits_for_while_its_readiness_is_good(
    place: Place, indexer: Callable[..., Indexer]
) -> None:
    running = await indexer().ready()
    await place.es.indices.put_settings(index=place.index, settings={"index.blocks.write": True})
    await place.publish([event("t1")])
    await eventually(running.reasons, lambda found: "elasticsearch: " in found)
    code, problems, _ = await looked(place)
    assert code == 7
    assert any("elasticsearch: " in problem and "since " in problem for problem in problems), problems
    await place.es.indices.put_settings(index=place.index, settings={"index.blocks.write": None})
    await running.settled(1)
    await eventually(place.lag, 0)
    assert (await looked(place))[:2] == (0, [])


async def test_an_indexer_that_does_not_answer_is_reported(place: Place, indexer: Callable[..., Indexer]) -> None:
    running = await indexer().ready()
    running.process.send_signal(signal.SIGSTOP)
    code, problems, _ = await looked(place)
    running.process.send_signal(signal.SIGCONT)
    assert code == 7
    assert f"the indexer at http://127.0.0.1:{await running.port()} does not answer: no answer within 3 s" in problems


async def test_what_an_open_transaction_hides_is_reported(place: Place, indexer: Callable[..., Indexer]) -> None:
    running = await indexer().ready()
    producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka, transactional_id=f"{place.name}.open")
    await producer.start()
    async with producer.transaction():
        await producer.send_and_wait(place.name, json.dumps(event("t1")).encode(), partition=1)
        await place.publish([event(f"u{number}") for number in range(30)])
        await running.settled(1)
        code, problems, found = await looked(place)
        assert code == 7
        (said,) = [problem for problem in problems if "open transaction" in problem]
        assert "(partition 1)" in said
        hidden = found["kafka"]["found"]["topics"][0]["behindTransaction"]
        assert list(hidden) == ["1"]
        assert found["kafka"]["found"]["groups"][0]["totalLag"] >= hidden["1"]
    await producer.stop()
    await running.settled(31)
    await eventually(place.lag, 0)
    assert (await looked(place))[:2] == (0, [])


async def test_records_removed_before_they_were_read_are_reported(place: Place) -> None:
    for _ in range(30):
        await place.producer.send_and_wait(place.name, b"{}", partition=1)
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=place.group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(place.name, 1)])
    await consumer.commit({TopicPartition(place.name, 1): 1})
    await consumer.stop()
    await place.admin.delete_records({TopicPartition(place.name, 1): RecordsToDelete(5)})
    code, problems, found = await looked(place)
    assert code == 7
    assert found["kafka"]["found"]["groups"][0]["lost"] == {"1": 4}
    assert any("lost 4 records (partition 1)" in problem for problem in problems)


async def test_it_watches_until_it_is_asked_to_end(place: Place) -> None:
    process = await begun(place, "status", "--watch", "--json", "--interval", "0.2s")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        lines = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert f"group {place.group} has no members: no indexer runs" in lines[1]["problems"]
    process.terminate()
    await process.wait()
