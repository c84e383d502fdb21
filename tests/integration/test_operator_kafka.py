"""What the operator reads from a real broker: partitions, lag, dead letters, and why it can read nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from fixtures.events import event
from fixtures.memory.cluster import NAMESPACE, FakeCluster
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_indexer_operator.kafka.observation import Observation, Offsets, Unknown
from activity_indexer_operator.kafka.reader import KafkaReader, Question
from activity_indexer_operator.kafka.spec import Kafka, Security
from activity_indexer_operator.kube.objects import CredentialsRef, FileRef, NameRef
from activity_indexer_operator.kube.resources import SECRETS
from activity_stack import Stack
from activity_stack.kafka import Kafka as Broker

pytestmark = pytest.mark.integration
TIMEOUT = 20.0
STRICT_PORTS = 4600


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


async def test_events_that_were_removed_before_they_were_read_are_seen(place: Place, reader: KafkaReader) -> None:
    for _ in range(9):
        await place.producer.send_and_wait(place.name, b"{}", partition=2)
    await commit(place, place.group, place.name, {2: 1})
    assert offsets((await reader.observe(question(place))).offsets).lost == {}
    await place.admin.delete_records({TopicPartition(place.name, 2): RecordsToDelete(6)})
    seen = offsets((await reader.observe(question(place))).offsets)
    assert (seen.lost, seen.lag) == ({2: 5}, 3)


async def test_what_an_open_transaction_hides_is_seen(place: Place, reader: KafkaReader) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=place.servers.kafka, transactional_id=f"{place.name}.open")
    await producer.start()
    async with producer.transaction():
        for _ in range(3):
            await producer.send_and_wait(place.name, b"{}", partition=1)
        await place.producer.send_and_wait(place.name, b"{}", partition=1)
        seen = offsets((await reader.observe(question(place))).offsets)
        assert (seen.hidden, seen.lag) == ({1: 4}, 4)
    await producer.stop()

    async def hidden() -> dict[int, int]:
        return offsets((await reader.observe(question(place))).offsets).hidden

    await eventually(hidden, {})


async def test_a_new_group_that_begins_at_the_end_has_no_lag(place: Place, reader: KafkaReader) -> None:
    await place.publish([event("a")])
    seen = await reader.observe(question(place, start_from="Latest"))
    assert offsets(seen.offsets).lag == 0


async def test_added_partitions_are_seen_over_the_open_connection(place: Place, reader: KafkaReader) -> None:
    await reader.observe(question(place))
    await place.add_partitions(5)
    await asyncio.sleep(2.1)  # one answer serves several objects for two seconds
    assert (await reader.observe(question(place))).partitions == 5


async def test_a_topic_that_is_not_there_is_reported_and_not_made(place: Place, reader: KafkaReader) -> None:
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


async def test_a_broker_that_is_unavailable_is_reported_and_shared(place: Place, reader: KafkaReader) -> None:
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


class StrictBroker(Broker):
    """A broker that talks over TLS only with a certificate of its authority's."""

    def _security(self) -> dict[str, object]:
        return super()._security() | {"ssl.client.auth": "required"}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A broker of these tests' own, which alone runs."""
    stack = Stack.load(tmp_path_factory.mktemp("strict"), STRICT_PORTS)
    stack.servers = {"kafka": StrictBroker(stack.instance)}
    try:
        stack.up(["kafka"])
        yield stack
    finally:
        stack.discard()


@pytest.fixture
def certificate(strict: Stack, cluster: FakeCluster) -> Security:
    """What a client that shows the right certificate gets."""
    folder = Path(strict.addresses.authority).parent
    entries = {"ca_crt": "ca.pem", "tls_crt": "client.pem", "tls_key": "client.key"}
    secret(cluster, "mine", **{entry: (folder / name).read_text("utf-8") for entry, name in entries.items()})
    return Security(protocol="SSL", ca_secret_ref=FileRef("mine"), client_certificate_secret_ref=NameRef("mine"))


@pytest.fixture
async def shown(strict: Stack, certificate: Security) -> Question:
    """A question about a topic of the strict broker, from who shows a certificate."""
    admin = AIOKafkaAdminClient(bootstrap_servers=strict.addresses.kafka)
    await admin.start()
    if "strict" not in await admin.list_topics():
        await admin.create_topics([NewTopic("strict", 2, 1)])
    await admin.close()
    asked = Kafka((strict.addresses.kafka_ssl,), "strict", "strict", security=certificate)
    return Question(NAMESPACE, asked, "strict.dlq")


def with_security(question: Question, **changed: Any) -> Question:
    security = msgspec.structs.replace(question.kafka.security, **changed)
    return replace(question, kafka=msgspec.structs.replace(question.kafka, security=security))


def refusal(seen: Observation) -> str:
    assert isinstance(seen.partitions, Unknown), seen
    return f"{seen.partitions.reason}: {seen.partitions.message}"


async def test_a_broker_that_wants_a_certificate_is_shown_the_secrets(shown: Question, reader: KafkaReader) -> None:
    # A broker that has just begun makes the groups' own topic first.
    await eventually(lambda: reader.observe(shown), lambda seen: seen.partitions == 2)


async def test_a_broker_that_wants_a_certificate_refuses_who_has_none(shown: Question, reader: KafkaReader) -> None:
    reported = refusal(await reader.observe(with_security(shown, client_certificate_secret_ref=None)))
    assert reported.startswith("Unauthorized: ")
    assert reported.endswith("; check security.clientCertificateSecretRef")
    assert "certificate required" in reported


async def test_a_broker_that_wants_a_certificate_refuses_another_authoritys(
    shown: Question, reader: KafkaReader, cluster: FakeCluster
) -> None:
    other = trustme.CA().issue_cert("client@activity.stack")
    chain, key = other.cert_chain_pems[0].bytes().decode(), other.private_key_pem.bytes().decode()
    secret(cluster, "other", tls_crt=chain, tls_key=key)
    reported = refusal(await reader.observe(with_security(shown, client_certificate_secret_ref=NameRef("other"))))
    assert reported.startswith("Unauthorized: ")
    assert reported.endswith("; check security.clientCertificateSecretRef")
