"""How to reach Kafka, and the topic that events go to."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from activity_common import setting_names as names
from activity_common.kafka_connection import (
    CLIENT_ERRORS,
    security_arguments,
    server_list,
    tls_context,
    uses_login,
    uses_tls,
)
from activity_loadgen.options import DEFAULT_SERVERS

PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
BROKER_DEFAULT: Final = -1
TOPIC_ALREADY_EXISTS: Final = 36
RETRY_SECONDS: Final = 0.5
CONNECT_TIMEOUT_MS: Final = 5_000
TIMESTAMP_TYPE: Final = "message.timestamp.type"

Say = Callable[[str], None]


class KafkaUnavailableError(Exception):
    """Kafka could not be reached, or refused, within the time to wait."""


class KafkaSettingError(ValueError):
    """A setting of the connection cannot work; the message names the variable."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Servers as `host:port,host:port`, and how to talk to them."""

    servers: str = DEFAULT_SERVERS
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_ca_file: str | None = None
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None

    def __repr__(self) -> str:
        """Servers and protocol; never a secret."""
        return f"KafkaConnection({self.servers!r}, {self.security_protocol})"

    def client_arguments(self) -> dict[str, Any]:
        """The arguments that every aiokafka client takes.

        Raises:
            KafkaSettingError: when a certificate or key cannot be read.
        """
        return {
            "bootstrap_servers": server_list(self.servers),
            **security_arguments(
                self.security_protocol,
                tls=self._tls() if uses_tls(self.security_protocol) else None,
                mechanism=self.sasl_mechanism,
                username=self.sasl_username,
                password=self.sasl_password,
            ),
        }

    def _tls(self) -> ssl.SSLContext:
        try:
            return tls_context(self.ssl_ca_file, self.ssl_cert_file, self.ssl_key_file)
        except OSError as error:  # ssl.SSLError is one
            files = "KAFKA_SSL_CA_FILE, KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE"
            raise KafkaSettingError(f"{files}: expected readable PEM files: {error}") from error


def connection_from(environment: Mapping[str, str], servers: str) -> KafkaConnection:
    """The connection the KAFKA_* variables describe.

    Raises:
        KafkaSettingError: naming the variable, what it wants and what it got.
    """
    protocol = _one_of(environment, names.KAFKA_SECURITY_PROTOCOL, PROTOCOLS)
    connection = KafkaConnection(
        servers=_checked_servers(servers),
        security_protocol=protocol,
        sasl_mechanism=_one_of(environment, names.KAFKA_SASL_MECHANISM, MECHANISMS),
        sasl_username=environment.get(names.KAFKA_SASL_USERNAME) or None,
        sasl_password=environment.get(names.KAFKA_SASL_PASSWORD) or None,
        ssl_ca_file=environment.get(names.KAFKA_SSL_CA_FILE) or None,
        ssl_cert_file=environment.get(names.KAFKA_SSL_CERT_FILE) or None,
        ssl_key_file=environment.get(names.KAFKA_SSL_KEY_FILE) or None,
    )
    if uses_login(protocol) and not (connection.sasl_username and connection.sasl_password):
        wanted = "expected both KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        raise KafkaSettingError(f"KAFKA_SECURITY_PROTOCOL is {protocol}: {wanted}, got only some or none")
    return connection


def _one_of(environment: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = (environment.get(name) or allowed[0]).upper()
    if value not in allowed:
        raise KafkaSettingError(f"{name}: expected one of {', '.join(allowed)}, got {environment[name]!r}")
    return value


def _checked_servers(servers: str) -> str:
    for server in servers.split(","):
        host, colon, port = server.strip().rpartition(":")
        if colon and not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise KafkaSettingError(f"Kafka servers: expected host:port[,host:port…], got {servers!r}")
        if not server.strip():
            raise KafkaSettingError(f"Kafka servers: expected host:port[,host:port…], got {servers!r}")
    return servers


async def wait_for(attempt: Callable[[], Awaitable[None]], *, what: str, wait: float, say: Say) -> None:
    """Try until it works, reporting the first reason and every new one to `say`.

    Raises:
        KafkaUnavailableError: when it has not worked for `wait` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline, reported = loop.time() + wait, ""
    while True:
        try:
            return await attempt()
        except CLIENT_ERRORS as error:
            reason = str(error) or type(error).__name__
        if loop.time() >= deadline:
            raise KafkaUnavailableError(f"{what}: gave up after {wait:g} s: {reason}")
        if reason != reported:
            say(f"waiting for {what} (up to {wait:g} s): {reason}")
            reported = reason
        await asyncio.sleep(RETRY_SECONDS)


@contextlib.asynccontextmanager
async def admin_client(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end."""
    client = AIOKafkaAdminClient(**connection.client_arguments(), request_timeout_ms=CONNECT_TIMEOUT_MS)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def partitions_of(client: AIOKafkaAdminClient, topic: str) -> int:
    """How many partitions of the topic have a leader, or 0; does not create the topic by asking."""
    for found in await client.describe_topics():
        if found["topic"] == topic:
            return sum(1 for partition in found["partitions"] if partition["leader"] >= 0)
    return 0


async def ensure_topic(connection: KafkaConnection, topic: str, partitions: int, *, wait: float, say: Say) -> None:
    """Create the topic when it does not exist, and wait until it can be written to.

    Raises:
        KafkaUnavailableError: when that has not come about in `wait` seconds.
    """

    async def attempt() -> None:
        async with admin_client(connection) as client:
            if await partitions_of(client, topic):
                return
            await _create(client, topic, partitions)
            while await partitions_of(client, topic) < partitions:  # noqa: ASYNC110 - only Kafka knows
                await asyncio.sleep(RETRY_SECONDS / 5)
            say(f"created topic {topic} with {partitions} partitions")

    await wait_for(lambda: asyncio.wait_for(attempt(), max(wait, 1)), what=_name(connection), wait=wait, say=say)


async def has_brokers_time(connection: KafkaConnection, topic: str) -> bool:
    """Whether the broker writes its own time into the topic's records; False also when it does not say."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {TIMESTAMP_TYPE: ""})
    try:
        async with admin_client(connection) as client:
            answers = await client.describe_configs([resource])
    except KafkaError:
        return False
    reported = [each for answer in answers for each in answer.to_object()["resources"]]
    entries = [entry for each in reported for entry in each.get("config_entries") or ()]
    return any(entry["config_value"] == "LogAppendTime" for entry in entries)


async def _create(client: AIOKafkaAdminClient, topic: str, partitions: int) -> None:
    answer = await client.create_topics([NewTopic(topic, partitions, BROKER_DEFAULT, replica_assignments={})])
    for _, code, *message in answer.topic_errors:
        if code not in {0, TOPIC_ALREADY_EXISTS}:
            raise KafkaError(f"topic {topic} does not exist and could not be created: error {code} {message}")


def _name(connection: KafkaConnection) -> str:
    return f"Kafka at {connection.servers}"
