"""What the operator reads from a real broker: partitions, lag, dead letters, and why it can read nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic
from operator_support import NAMESPACE, FakeCluster
from support import Place, Servers, event

from activity_indexer_operator.kafka_metadata import KafkaReader, Question
from activity_indexer_operator.observed import Observation, Offsets, Unknown
from activity_indexer_operator.resources import SECRETS
from activity_indexer_operator.spec import CredentialsRef, FileRef, Kafka, Security

pytestmark = pytest.mark.integration
TIMEOUT = 20.0


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def authority(stack: Servers) -> str:
    return Path(stack.authority).read_text("utf-8")


@pytest.fixture
async def reader(cluster: FakeCluster) -> AsyncIterator[KafkaReader]:
    found = KafkaReader(cluster, TIMEOUT)
    yield found
    await found.close()


def kafka(place: Place, **fields: Any) -> Kafka:
    return Kafka(
        **{"bootstrap_servers": (place.servers.kafka,), "topic": place.name, "consumer_group": place.group} | fields
    )


def question(place: Place, **fields: Any) -> Question:
    return Question(NAMESPACE, kafka(place, **fields), place.dead_letter_topic)


def secret(cluster: FakeCluster, name: str, **entries: str) -> None:
    encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in entries.items()}
    cluster.put(SECRETS, name, {})["data"] = encoded


def offsets(found: Offsets | Unknown | None) -> Offsets:
    assert isinstance(found, Offsets), found
    return found


async def commit(place: Place, group: str, topic: str, positions: dict[int, int]) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    wanted = {TopicPartition(topic, number): offset for number, offset in positions.items()}
    consumer.assign(list(wanted))
    await consumer.commit(wanted)
    await consumer.stop()


async def test_partitions_and_lag_are_what_the_broker_has(place: Place, reader: KafkaReader) -> None:
    await place.publish([event(str(number)) for number in range(7)])
    seen = await reader.observe(question(place))
    assert seen.partitions == 3
    assert (offsets(seen.offsets).lag, offsets(seen.offsets).max_lag) == (7, 7), "one user, one partition"
    [partition] = [number for number, end in offsets(seen.offsets).end.items() if end]

    await commit(place, place.group, place.name, {partition: 5})
    seen = await reader.observe(question(place))
    assert (offsets(seen.offsets).lag, offsets(seen.offsets).settled) == (2, 5)


async def test_a_new_group_that_begins_at_the_end_has_no_lag(place: Place, reader: KafkaReader) -> None:
    await place.publish([event("a")])
    seen = await reader.observe(question(place, start_from="Latest"))
    assert offsets(seen.offsets).lag == 0


async def test_added_partitions_are_seen_over_the_open_connection(place: Place, reader: KafkaReader) -> None:
    await reader.observe(question(place))
    await place.add_partitions(5)
    await asyncio.sleep(2.1)  # one answer serves several objects for two seconds
    assert (await reader.observe(question(place))).partitions == 5


async def test_a_topic_that_is_not_there_is_told_and_not_made(place: Place, reader: KafkaReader) -> None:
    seen = await reader.observe(question(place, topic=f"{place.name}-no"))
    assert isinstance(seen.partitions, Unknown)
    assert seen.partitions.reason == "TopicNotFound"
    assert f"{place.name}-no" not in await place.admin.list_topics()


async def test_dead_letters_count_up_to_what_replays_have_read(place: Place, reader: KafkaReader) -> None:
    assert (await reader.observe(question(place))).dead is None, "no dead letter yet, no topic"
    await place.admin.create_topics([NewTopic(place.dead_letter_topic, 1, 1)])
    for _ in range(4):
        await place.producer.send_and_wait(place.dead_letter_topic, b"x")
    await asyncio.sleep(2.1)
    assert offsets((await reader.observe(question(place))).dead).lag == 4

    await commit(place, f"{place.group}.replay.all", place.dead_letter_topic, {0: 3})
    asked = replace(question(place), handled_by=(f"{place.group}.replay.all",))
    assert offsets((await reader.observe(asked)).dead).lag == 1
    assert offsets((await reader.observe(replace(question(place), handled={0: 2}))).dead).lag == 2


async def test_a_broker_that_is_away_is_told_and_shared(place: Place, reader: KafkaReader) -> None:
    asked = question(place, bootstrap_servers=("127.0.0.1:1",))
    answers: list[Observation] = await asyncio.gather(*(reader.observe(asked) for _ in range(20)))
    assert {seen.partitions.reason for seen in answers if isinstance(seen.partitions, Unknown)} == {"BrokerUnreachable"}


async def test_a_login_over_tls_with_what_the_secrets_hold(
    stack: Servers, place: Place, cluster: FakeCluster, reader: KafkaReader, authority: str
) -> None:
    known = stack.environment
    secret(cluster, "ca", ca_crt=authority)
    secret(
        cluster,
        "user",
        username=known["ACTIVITY_STACK_KAFKA_USERNAME"],
        password=known["ACTIVITY_STACK_KAFKA_PASSWORD"],
    )
    security = Security(
        protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", ca_secret_ref=FileRef("ca"),
        credentials_secret_ref=CredentialsRef("user"),
    )  # fmt: skip
    servers = (known["ACTIVITY_STACK_KAFKA_SASL_SSL"],)
    asked = question(place, bootstrap_servers=servers, security=security)
    assert (await reader.observe(asked)).partitions == 3

    secret(cluster, "wrong", username=known["ACTIVITY_STACK_KAFKA_USERNAME"], password="wr0ng")
    denied = msgspec.structs.replace(security, credentials_secret_ref=CredentialsRef("wrong"))
    seen = await reader.observe(question(place, bootstrap_servers=servers, security=denied))
    assert isinstance(seen.partitions, Unknown)
    assert seen.partitions.reason == "Unauthorized"
