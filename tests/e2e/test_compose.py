"""The guide's "Complete Example" and its other commands, on docker-compose.yml.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import json

import pytest
from e2e import elasticsearch
from e2e.commands import eventually
from e2e.compose import Compose

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

BROKER = ("--bootstrap-server", "localhost:9092")


@pytest.fixture(scope="module")
def started(compose: Compose) -> Compose:
    """The project with every service healthy."""
    compose("up", "--detach", "--wait", "--wait-timeout", "240", timeout=300)
    return compose


def audited(compose: Compose) -> int:
    psql = ("psql", "-U", "astropay", "-d", "activity_feed", "-tAc", "SELECT COUNT(*) FROM transactions;")
    return int(compose.execute("postgres", *psql))


def test_up_brings_every_service_of_the_guide_to_health(started: Compose) -> None:
    assert started.states() == dict.fromkeys(
        ("kafka", "elasticsearch", "redis", "postgres", "consumer"), ("running (healthy)", 0)
    )


def test_published_transactions_are_found_by_their_user_and_audited(started: Compose) -> None:
    started("--profile", "publish-data", "run", "--rm", "publish_test_data")

    address = started.address("ELASTICSEARCH_PORT")
    eventually(lambda: elasticsearch.count(address, "user_id:test_user_123") == 1000, "1000 documents of test_user_123")
    eventually(lambda: audited(started) == 1000, "1000 rows in PostgreSQL")
    found = elasticsearch.search(address, "user_id:test_user_123", size=10)
    assert len(found) == 10
    assert {document["user_id"] for document in found} == {"test_user_123"}
    assert all(document["_enriched"] for document in found)


def test_a_command_with_options_publishes_for_another_user_and_verifies(started: Compose) -> None:
    started(
        "run", "--rm", "publish_test_data",
        "python", "publish_test_data_to_kafka.py", "--count", "200", "--user-id", "user_789", "--verify",
    )  # fmt: skip

    assert elasticsearch.count(started.address("ELASTICSEARCH_PORT"), "user_id:user_789") == 200


def test_the_consumers_logs_are_json(started: Compose) -> None:
    lines = started("logs", "--no-color", "--no-log-prefix", "consumer").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    assert entries
    assert all({"event", "level", "timestamp"} <= entry.keys() for entry in entries)


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("kafka-broker-api-versions", (), "localhost:9092 (id: 1"),
        ("kafka-topics", ("--list",), "transactions\n"),
        ("kafka-consumer-groups", ("--group", "transaction_indexer", "--describe"), "transactions"),
    ],
)
@pytest.mark.parametrize("folder", ["", "/usr/local/sbin/"], ids=["on PATH", "our wrapper"])
def test_the_guides_kafka_tools_answer(
    started: Compose, folder: str, tool: str, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in started.execute("kafka", folder + tool, *BROKER, *arguments)


def test_an_event_that_cannot_be_indexed_is_read_from_the_dead_letters(started: Compose) -> None:
    started.execute("kafka", "kafka-console-producer", *BROKER, "--topic", "transactions", stdin="not an event\n")

    read = ("--from-beginning", "--max-messages", "1", "--timeout-ms", "60000")
    dead = started.execute("kafka", "kafka-console-consumer", *BROKER, "--topic", "transactions.dlq", *read)
    assert dead.strip() == "not an event"


def test_the_consumer_says_whether_it_audits(started: Compose) -> None:
    assert "CONSUMER_ENABLE_AUDIT_DB=true" in started.execute("consumer", "env").splitlines()


def test_events_published_while_the_consumer_is_stopped_are_indexed_by_the_next(started: Compose) -> None:
    started("stop", "consumer")
    assert started.states()["consumer"] == ("exited", 0)
    started(
        "run", "--rm", "--no-deps", "publish_test_data",
        "python", "publish_test_data_to_kafka.py", "--count", "300", "--user-id", "user_late",
    )  # fmt: skip
    started("up", "--detach", "--wait", "--wait-timeout", "120", "consumer")

    address = started.address("ELASTICSEARCH_PORT")
    eventually(lambda: elasticsearch.count(address, "user_id:user_late") == 300, "300 documents of user_late")
