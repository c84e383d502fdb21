"""The secured listeners of the local stack's Kafka, which the service's own settings are tried on."""

import ssl
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from activity_stack import Stack
from activity_stack.kafka import PASSWORD, USER

pytestmark = pytest.mark.integration

TOPIC = "stack-security"


@pytest.fixture(scope="module")
def broker() -> Stack:
    instance = Stack.load()
    instance.up(["kafka"])
    return instance


def trust(broker: Stack) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=broker.addresses.authority)


async def send(**options: Any) -> int:
    producer = AIOKafkaProducer(**options)
    try:
        await producer.start()
        sent = await producer.send_and_wait(TOPIC, b"value")
    finally:
        await producer.stop()
    return int(sent.offset)


def with_password(broker: Stack, mechanism: str, password: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": broker.addresses.kafka_sasl_ssl,
        "security_protocol": "SASL_SSL",
        "ssl_context": trust(broker),
        "sasl_mechanism": mechanism,
        "sasl_plain_username": USER,
        "sasl_plain_password": password,
    }


async def test_a_client_that_trusts_the_authority_may_use_tls(broker: Stack) -> None:
    server = broker.addresses.kafka_ssl
    assert await send(bootstrap_servers=server, security_protocol="SSL", ssl_context=trust(broker)) >= 0


async def test_a_client_that_trusts_others_does_not_connect(broker: Stack) -> None:
    server, others = broker.addresses.kafka_ssl, ssl.create_default_context()
    with pytest.raises(KafkaConnectionError):
        await send(bootstrap_servers=server, security_protocol="SSL", ssl_context=others)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_the_test_user_logs_in_with_every_mechanism(broker: Stack, mechanism: str) -> None:
    assert await send(**with_password(broker, mechanism, PASSWORD)) >= 0


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_refused(broker: Stack, mechanism: str) -> None:
    with pytest.raises(KafkaConnectionError):
        await send(**with_password(broker, mechanism, "other"))
