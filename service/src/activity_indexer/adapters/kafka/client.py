"""What every Kafka client of the indexer has in common."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaConnectionError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from activity_common.kafka_connection import (
    CLIENT_ERRORS,
    UNAUTHORIZED,
    connection_errors,
    security_arguments,
    server_list,
    tls_context,
    uses_tls,
)
from activity_indexer.errors import ActivityIndexerError, Refused, Unavailable, reason_of
from activity_indexer.responsive import ResponsiveTimeout
from activity_indexer.settings import KafkaSettings

_REFUSED = (*UNAUTHORIZED, InvalidReplicationFactorError, PolicyViolationError, ssl.SSLCertVerificationError)

RECORD_LIMIT: Final = "max.message.bytes"
"""The topic's limit of a record: asked before, since a refusal by the broker breaks the producer's sequence."""

NEW_TOPIC_PATIENCE: Final = 5.0
"""Seconds until a topic that was created a moment ago is known to every broker."""

NEW_TOPIC_PAUSE: Final = 0.2


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Arguments that consumer, producer and admin client take alike."""
    protocol = settings.security_protocol
    return {
        "bootstrap_servers": server_list(settings.bootstrap_servers),
        "client_id": settings.client_id,
        "request_timeout_ms": int(settings.request_timeout * 1000),
        "metadata_max_age_ms": int(settings.metadata_max_age * 1000),
        **security_arguments(
            protocol,
            tls=_tls(settings) if uses_tls(protocol) else None,
            mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
        ),
    }


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    password = settings.ssl_key_password.get_secret_value() or None
    try:
        context = tls_context(settings.ssl_ca_file, settings.ssl_cert_file, settings.ssl_key_file, password)
    except OSError as error:  # ssl.SSLError is one
        raise Refused(
            "KAFKA_SSL_CA_FILE, KAFKA_SSL_CERT_FILE, KAFKA_SSL_KEY_FILE: expected PEM files that fit together and the "
            f"right KAFKA_SSL_KEY_PASSWORD, got {type(error).__name__}: {error}"
        ) from error
    context.check_hostname = settings.ssl_check_hostname
    return context


def mapped(error: BaseException) -> ActivityIndexerError:
    """An error of the client in our words: Refused when an operator is needed, else Unavailable."""
    reason = reason_of(error)
    name = type(error).__name__
    text = f"Kafka: {reason}" if reason.startswith(name) else f"Kafka: {name}: {reason}"
    return Refused(text) if isinstance(error, _REFUSED) else Unavailable(text)


@asynccontextmanager
async def admin_client(settings: KafkaSettings) -> AsyncIterator[Any]:
    """A started admin client. Raises Unavailable or Refused, also for what is done with it."""
    client = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await client.start()
        yield client
    except KafkaConnectionError as error:
        raise await explained(settings, error) from error
    except CLIENT_ERRORS as error:
        raise mapped(error) from error
    finally:
        await client.close()


async def explained(settings: KafkaSettings, error: KafkaConnectionError) -> ActivityIndexerError:
    """The client says only that no server takes it: ask each why. One that needs an operator comes first."""
    reasons = [mapped(reason) async for reason in connection_errors(client_arguments(settings))]
    refused = [reason for reason in reasons if isinstance(reason, Refused)]
    return next(iter(refused or reasons), mapped(error))


@dataclass(frozen=True, slots=True)
class Shape:
    """How many partitions a topic has, and how many replicas each of them."""

    partitions: int
    replicas: int


async def topics(client: Any) -> dict[str, Shape]:
    """The shape of every topic that the user may see; asking for all of them creates none."""
    return {
        topic["topic"]: Shape(len(topic["partitions"]), len(topic["partitions"][0]["replicas"]))
        for topic in await client.describe_topics()
        if topic["error_code"] == 0 and topic["partitions"]
    }


async def create_topic(client: Any, name: str, shape: Shape, configs: dict[str, str]) -> None:
    """Create a topic; one that is there already is left as it is."""
    topic = NewTopic(name, shape.partitions, shape.replicas, topic_configs=configs)
    reply = await client.create_topics([topic])
    for _, code, *message in reply.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(f"cannot create topic {name}: {message[0] if message else code}")


async def session_limits(client: Any) -> tuple[float, float] | None:
    """The least and the greatest session timeout that the brokers take (seconds); None where they do not say."""
    names = ("group.min.session.timeout.ms", "group.max.session.timeout.ms")
    broker = (await client.describe_cluster())["brokers"][0]["node_id"]
    (answer,) = await client.describe_configs(
        [ConfigResource(ConfigResourceType.BROKER, str(broker), dict.fromkeys(names, ""))]
    )
    reported = {entry[0]: entry[1] for resource in answer.resources for entry in resource[4]}
    found = [float(reported[name]) / 1000 for name in names if reported.get(name)]
    return (found[0], found[1]) if len(found) == len(names) else None


async def record_limits(settings: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """Bytes of a record at most, for topics that report it. Raises Refused when one does not exist, or Unavailable."""
    deadline = time.monotonic() + NEW_TOPIC_PATIENCE
    async with admin_client(settings) as client:
        while True:
            answers = await client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name, {RECORD_LIMIT: ""}) for name in names]
            )
            reported = [resource for answer in answers for resource in answer.to_object()["resources"]]
            missing = [
                each["resource_name"] for each in reported if each["error_code"] == UnknownTopicOrPartitionError.errno
            ]
            if not missing:
                return {
                    resource["resource_name"]: int(entry["config_value"])
                    for resource in reported
                    for entry in resource["config_entries"]
                    if entry["config_names"] == RECORD_LIMIT and not resource["error_code"]
                }
            if time.monotonic() > deadline:
                raise Refused(f"the topic {', '.join(missing)} does not exist: nothing can be sent there")
            await asyncio.sleep(NEW_TOPIC_PAUSE)


async def prepare_topics(settings: KafkaSettings) -> int | None:
    """Create the dead-letter topic when absent, with the source topic's partitions; returns how many the source has.

    None when the source topic does not exist and is not to be created. Raises Unavailable or Refused.
    """
    async with admin_client(settings) as client:
        known = await topics(client)
        source = known.get(settings.transactions_topic)
        if source is None:
            if not settings.topic_partitions:
                return None
            brokers = len((await client.describe_cluster())["brokers"])
            source = Shape(settings.topic_partitions, settings.replication_factor or min(3, brokers))
            await create_topic(client, settings.transactions_topic, source, {})
        if settings.dead_letters not in known:
            await create_topic(
                client,
                settings.dead_letters,
                Shape(source.partitions, settings.replication_factor or source.replicas),
                {
                    # the broker's clock counts: it refuses records from a clock that is an hour ahead
                    "message.timestamp.type": "LogAppendTime",
                    "max.message.bytes": str(settings.max_request_bytes),
                    "retention.ms": str(int(settings.dead_letter_retention * 1000)),
                },
            )
        return source.partitions


async def within(seconds: float, awaitable: Any) -> Any:
    """The awaitable's result. Raises Unavailable after this many seconds, and for the client's errors."""
    try:
        async with ResponsiveTimeout(seconds):
            return await awaitable
    except CLIENT_ERRORS as error:
        raise mapped(error) from error
