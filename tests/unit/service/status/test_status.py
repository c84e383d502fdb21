"""The status: what is wrong, and a table that fits a terminal."""

import asyncio
import io
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from activity_indexer.adapters.kafka.address import AddressAssignor, http_address, stated_address
from activity_indexer.dead_letters.spans import Span
from activity_indexer.errors import Unavailable
from activity_indexer.facts import Fact, IndexerFacts, PartitionFacts, Severity
from activity_indexer.positions import Partition
from activity_indexer.status.collect import answered, ask_indexers, newest, stated_members
from activity_indexer.status.kafka_version import release
from activity_indexer.status.problems import find_problems, problems_of_indexers, problems_of_lag
from activity_indexer.status.report import (
    Answer,
    Audit,
    Cause,
    DeadLetters,
    Group,
    Index,
    Indexer,
    Kafka,
    Member,
    Redis,
    Rows,
    Status,
    Topic,
    to_json,
)
from activity_indexer.status.table import render, size
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.http import HttpServer
from activity_indexer.telemetry.metrics.indexer import Metrics


def group(role: str = "indexer", members: int = 2) -> Group:
    return Group(
        role=role,
        name=f"transaction_indexer.{role}",
        state="Stable",
        members=[
            Member(
                client_id="activity-indexer",
                host=f"10.0.0.{number}",
                partitions=list(range(number * 3, number * 3 + 3)),
                address=f"http://10.0.0.{number}:8080",
            )
            for number in range(members)
        ],
        lag={"0": 0, "1": 5, "2": None, "3": 123_456_789},
        total_lag=123_456_794,
        per_second=12_345.6,
    )


def kafka(**changes: Any) -> Kafka:
    topics = [
        Topic(role="transactions", name="transactions", exists=True, partitions=6, records=10**12, per_second=1.0),
        Topic(role="parked", name="transactions.dlq.parked", exists=False),
    ]
    found = Kafka(version="4.3", brokers=3, interval=2.0, topics=topics, groups=[group(), group("audit")])
    return msgspec.structs.replace(found, **changes)


BREAKER = Fact(code="breaker", severity=Severity.BLOCKS, reason="60% cannot be indexed", since=1_700_000_000.0)


def one(instance: str, *facts: Fact, **partitions: PartitionFacts) -> Indexer:
    """An indexer that reports these facts, and these numbers of partitions (`p3`)."""
    found = IndexerFacts(
        instance=instance,
        group="transaction_indexer",
        version="1.0",
        live=True,
        ready=not any(fact.severity is Severity.BLOCKS for fact in facts),
        facts=list(facts),
        partitions={name[1:]: numbers for name, numbers in partitions.items()},
    )
    return Indexer(address="http://10.0.0.1:8080", members=["activity-indexer"], answer=Answer(up=True, found=found))


SILENT = Indexer(address="http://10.0.0.2:8080", members=[], answer=Answer(up=False, reason="no route " * 20))

INDEX = Index(version="9.1.0", health="green", alias="transactions", index="transactions-000001", documents=10**9)


def status(**changes: Any) -> Status:
    cause = Cause(
        stage="index", error="document_parsing_exception", field="metadata." + "x" * 200, count=5, last="2024"
    )
    found = Status(
        at="2024-01-01T12:00:00Z",
        version="1.0",
        healthy=True,
        problems=[],
        kafka=Answer(up=True, found=kafka()),
        elasticsearch=Answer(up=True, found=INDEX),
        redis=Answer(up=True, found=Redis(version="8", used_bytes=10**9)),
        postgresql=Answer(
            up=True,
            found=Audit(version="17", transactions=Rows(rows=10**9, exact=False), events=None, rejects=None),
        ),
        dead_letters=Answer(
            up=True, found=DeadLetters(topic="transactions.dlq", total=10**6, sampled=1000, causes=[cause])
        ),
        indexers=[one("activity-indexer-6f7d9c9b8d-x2x4z", BREAKER, BREAKER), SILENT],
    )
    return msgspec.structs.replace(found, **changes)


def shown(found: Status) -> str:
    text = io.StringIO()
    Console(file=text, width=80).print(render(found))
    return text.getvalue()


DOWN: Answer[Any] = Answer(up=False, reason="connection refused " * 20)


@pytest.mark.parametrize(
    "found",
    [status(), status(kafka=DOWN, elasticsearch=DOWN, redis=DOWN, postgresql=None, dead_letters=DOWN, problems=["x"])],
)
def test_the_table_fits_80_columns(found: Status) -> None:
    lines = shown(found).splitlines()
    assert max(map(len, lines)) <= 80


def test_the_table_says_what_is_estimated_and_what_is_sampled() -> None:
    text = " ".join(shown(status()).split())
    assert "about 1,000,000,000 transactions" in text
    assert "1,000,000 in all; causes of the newest 1,000" in text
    assert "2: none committed" in text


def test_a_server_that_is_down_hides_nothing_of_the_others() -> None:
    text = shown(status(kafka=DOWN))
    assert "connection refused" in text
    assert "transactions-000001" in " ".join(text.split())


def test_json_has_camel_case_keys_and_survives_a_round_trip() -> None:
    found = to_json(status())
    assert found["kafka"]["found"]["groups"][0]["totalLag"] == 123_456_794
    assert set(found) == {
        "at", "version", "healthy", "problems", "kafka", "elasticsearch", "redis", "postgresql", "deadLetters",
        "indexers",
    }  # fmt: skip
    assert msgspec.convert(found, Status, strict=True).problems == []


def test_all_well_is_no_problem() -> None:
    found = status()
    assert find_problems(found.kafka, found.elasticsearch, found.postgresql) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kafka": DOWN}, "Kafka is down: connection"),
        ({"elasticsearch": DOWN}, "Elasticsearch is down"),
        ({"postgresql": DOWN}, "PostgreSQL is down"),
        ({"kafka": Answer(up=True, found=kafka(groups=[group(members=0)]))}, "no indexer runs"),
        (
            {"kafka": Answer(up=True, found=kafka(topics=[Topic(role="transactions", name="t", exists=False)]))},
            "topic t does not exist",
        ),
        ({"elasticsearch": Answer(up=True, found=msgspec.structs.replace(INDEX, index=None))}, "alias transactions"),
        ({"elasticsearch": Answer(up=True, found=msgspec.structs.replace(INDEX, health="red"))}, "is red"),
        ({"elasticsearch": Answer(up=True, found=msgspec.structs.replace(INDEX, turned=True))}, "reindex stopped"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], problem: str) -> None:
    found = status(**changes)
    problems = find_problems(found.kafka, found.elasticsearch, found.postgresql)
    assert [problem in each for each in problems] == [True]


async def test_a_server_that_is_silent_is_down_after_its_time() -> None:
    async def silent() -> Redis:
        await asyncio.sleep(1000)
        raise AssertionError

    async def unavailable() -> Redis:
        raise Unavailable("no route")

    assert "no answer within 0.01 s" in (await answered(silent, 0.01)).reason
    assert (await answered(unavailable, 1)).reason == "no route"


def test_the_sample_is_of_the_ends_and_fair() -> None:
    spans = {Partition("dlq", 0): Span(0, 900), Partition("dlq", 1): Span(50, 150)}
    assert newest(spans, 2000) == spans
    assert newest(spans, 100) == {Partition("dlq", 0): Span(810, 900), Partition("dlq", 1): Span(140, 150)}
    assert sum(span.length for span in newest(spans, 0).values()) == 0


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB")])
def test_sizes_are_readable(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("level", "text"), [(None, "below 3.3"), (7, "below 3.5"), (27, "4.1"), (30, "4.3 (m"), (31, "4.3 or later")]
)
def test_a_broker_says_its_release_by_its_metadata_version(level: int | None, text: str) -> None:
    assert release(level).startswith(text)


def test_a_fact_of_an_indexer_is_a_problem_with_its_beginning() -> None:
    assert problems_of_indexers([one("pod-a", BREAKER)]) == [
        "pod-a: breaker: 60% cannot be indexed (since 2023-11-14T22:13:20Z)"
    ]


def test_one_fact_of_many_indexers_is_one_problem() -> None:
    later = msgspec.structs.replace(BREAKER, since=BREAKER.since + 60)
    facts = zip("abcd", [later, BREAKER] * 2, strict=True)
    (problem,) = problems_of_indexers([one(f"pod-{name}", fact) for name, fact in facts])
    assert problem.startswith("pod-a, pod-b, pod-c and 1 more: breaker")
    assert "since 2023-11-14T22:13:20Z" in problem


def test_an_indexer_that_does_not_answer_is_a_problem() -> None:
    (problem,) = problems_of_indexers([one("pod-a"), SILENT])
    assert problem.startswith("the indexer at http://10.0.0.2:8080 does not answer: no route")


def standing(role: str = "indexer", **changes: Any) -> list[Group]:
    return [msgspec.structs.replace(group(role), standing=[3], **changes)]


@pytest.mark.parametrize(
    ("groups", "indexers", "problem"),
    [
        (
            standing(),
            [one("a", p3=PartitionFacts(lag=5, lag_seconds=90.0))],
            "partition 3 makes no progress, its oldest",
        ),
        (standing(), [one("a", p3=PartitionFacts(lag=5, lag_seconds=3.0))], None),
        (standing(), [one("a", BREAKER, p3=PartitionFacts(lag=5, lag_seconds=90.0))], None),
        (standing(members=group(members=1).members), [], "partition 3 belongs to no member"),
        (standing(members=group(members=1).members, state="PreparingRebalance"), [], None),
    ],
    ids=["old and standing", "just now", "explained", "of no member", "rebalanced"],
)
def test_lag_that_stands_without_a_reason_is_a_problem(
    groups: list[Group], indexers: list[Indexer], problem: str | None
) -> None:
    assert [problem in each for each in problems_of_lag(groups, indexers)] == ([True] if problem else [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lost": {"10": 200, "3": 50}}, "lost 250 records (partition 3, 10)"),
        ({"state": "PreparingRebalance"}, "is being rebalanced"),
        ({"members": [Member(client_id="x", host="10.0.0.9", partitions=[0])]}, "members on 10.0.0.9 state no address"),
    ],
)
def test_what_is_wrong_with_a_group_is_said(changes: dict[str, Any], problem: str) -> None:
    found = kafka(groups=[msgspec.structs.replace(group(), **changes)])
    (said,) = find_problems(Answer(up=True, found=found), status().elasticsearch, None)
    assert problem in said


def test_what_an_open_transaction_hides_is_said() -> None:
    topic = Topic(role="transactions", name="t", exists=True, behind_transaction={"0": 1000, "2": 1})
    found = Answer(up=True, found=kafka(topics=[topic]))
    (said,) = find_problems(found, status().elasticsearch, None)
    assert "hides 1,001 records of topic t (partition 0, 2)" in said


def test_a_member_states_where_it_listens() -> None:
    everywhere = "0.0.0.0"  # noqa: S104 - nothing listens
    for host, port, url in ((everywhere, 8080, "10.1.2.3:8080"), ("::", 1, "10.1.2.3:1"), ("::1", 2, "[::1]:2")):
        metadata = AddressAssignor(http_address(host, port)).metadata(["transactions"]).encode()
        address = stated_address(metadata)
        assert address is not None
        assert address.url("10.1.2.3") == f"http://{url}"


@pytest.mark.parametrize("metadata", [b"", b"\0", b"\0\0\0\0\0\0\0\0\0\2{}", b"\xff" * 40])
def test_a_member_of_another_program_states_nothing(metadata: bytes) -> None:
    assert stated_address(metadata) is None


class _Settings:
    """The part of the settings that names the port beside."""

    def __init__(self, port: int) -> None:
        self.consumer = type("Consumer", (), {"http_host": "127.0.0.1", "http_port": port})
        self.kafka = type("Kafka", (), {"consumer_group": "g"})


async def asked(port: int, *addresses: str) -> list[Indexer]:
    settings: Any = _Settings(port)
    return await ask_indexers(settings, addresses, {address: ["activity-indexer"] for address in addresses}, 5.0)


async def test_every_indexer_is_asked_once_and_the_one_beside_too() -> None:
    health = Health(lambda: 0.0, 120.0)
    health.blocked("elasticsearch", "http://user:hunter2@es:9200 answers 401")
    server = HttpServer("127.0.0.1", 0, health, Metrics(), identity={"instance": "pod-a", "group": "g"})
    other = HttpServer("127.0.0.1", 0, Health(lambda: 0.0, 1.0), Metrics(), identity={"instance": "x", "group": "h"})
    port, foreign = await server.start(), await other.start()
    try:
        (beside,) = await asked(port)
        (found,) = await asked(port, f"http://127.0.0.1:{port}", f"http://localhost:{port}")
        assert await asked(foreign) == []
    finally:
        await server.stop()
        await other.stop()
    assert (beside.members, found.members) == ([], ["activity-indexer"])
    assert found.answer.found is not None
    assert (found.answer.found.ready, found.answer.found.live) == (False, True)
    assert [fact.code for fact in found.answer.found.facts] == ["elasticsearch", "starting"]
    assert "hunter2" not in repr(found)
    assert await asked(port) == []
    (gone,) = await asked(0, f"http://127.0.0.1:{port}")
    assert not gone.answer.up


@pytest.mark.parametrize(("path", "reason"), [("/", "404 for /facts"), ("/odd", "expected the facts of an indexer")])
async def test_what_is_no_indexer_is_said(path: str, reason: str) -> None:
    async def odd(_request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    app = web.Application()
    app.router.add_get("/odd/facts", odd)
    async with TestServer(app) as server:
        (found,) = await asked(0, str(server.make_url(path)))
    assert reason in found.answer.reason


def test_addresses_are_those_of_all_groups() -> None:
    assert stated_members([group(), group("audit", 1)]) == {
        "http://10.0.0.0:8080": ["activity-indexer", "activity-indexer"],
        "http://10.0.0.1:8080": ["activity-indexer"],
    }
