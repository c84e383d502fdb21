"""The status: what is wrong, and a table that fits a terminal."""

import asyncio
import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from activity_indexer.adapters.kafka_version import release
from activity_indexer.dead_letters.spans import Span
from activity_indexer.errors import Unavailable
from activity_indexer.ports import Partition
from activity_indexer.status.collect import answered, find_problems, newest
from activity_indexer.status.report import (
    Answer,
    Audit,
    Cause,
    DeadLetters,
    Group,
    Index,
    Kafka,
    Member,
    Redis,
    Rows,
    Status,
    Topic,
    to_json,
)
from activity_indexer.status.table import render, size


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
            "topic t is absent",
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

    async def away() -> Redis:
        raise Unavailable("no route")

    assert "no answer within 0.01 s" in (await answered(silent, 0.01)).reason
    assert (await answered(away, 1)).reason == "no route"


def test_the_sample_is_of_the_ends_and_fair() -> None:
    spans = {Partition("dlq", 0): Span(0, 900), Partition("dlq", 1): Span(50, 150)}
    assert newest(spans, 2000) == spans
    assert newest(spans, 100) == {Partition("dlq", 0): Span(810, 900), Partition("dlq", 1): Span(140, 150)}
    assert sum(span.length for span in newest(spans, 0).values()) == 0


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("level", "text"), [(None, "below 3.3"), (7, "below 3.5"), (27, "4.1"), (30, "4.3 (m"), (31, "4.3 or later")]
)
def test_a_broker_tells_its_release_by_its_metadata_version(level: int | None, text: str) -> None:
    assert release(level).startswith(text)
