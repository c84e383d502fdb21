"""Reads a topic, its dead letters and a group from Kafka."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from activity_common.kafka_connection import UNAUTHORIZED
from activity_indexer_operator.kafka.connection import REFUSALS, KafkaConnection, Topics
from activity_indexer_operator.kafka.observation import Number, Observation, Offsets, SourceReason, Unknown, nothing
from activity_indexer_operator.kafka.security import SecretError, client_arguments, share_key
from activity_indexer_operator.kafka.spec import Kafka
from activity_indexer_operator.kube.ports import Cluster

FAILURE_SECONDS: Final = 4.0
"""Seconds for which a failure to connect is the answer for all objects of a cluster, in place of a timeout each."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Question:
    """What is read for an object.

    `handled_by` are groups of replays that have read all dead letters they met; `handled`: up to where earlier did.
    """

    namespace: str
    kafka: Kafka
    dead_letters: str
    handled_by: Sequence[str] = ()
    handled: Mapping[int, int] | None = None


class KafkaReader:
    """Keeps a connection per Kafka cluster; `timeout` limits a whole question, in seconds.

    No call raises but ClusterError: what cannot be read is Unknown.
    """

    def __init__(self, cluster: Cluster, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._connections: dict[tuple[Any, ...], KafkaConnection] = {}
        self._failures: dict[tuple[Any, ...], tuple[float, Unknown]] = {}
        self._opening: dict[tuple[Any, ...], asyncio.Lock] = {}

    async def observe(self, question: Question) -> Observation:
        """One fresh look."""

        async def look(connection: KafkaConnection) -> Observation:
            return await _look(connection, question)

        answer = await self.ask(question.namespace, question.kafka, look)
        return nothing(answer) if isinstance(answer, Unknown) else answer

    async def ask(
        self, namespace: str, kafka: Kafka, question: Callable[[KafkaConnection], Awaitable[Answer]]
    ) -> Answer | Unknown:
        """The answer to any question to the object's Kafka cluster; it raises only what KafkaConnection does."""
        key, connection = share_key(namespace, kafka), None
        try:
            async with asyncio.timeout(self._timeout):
                opened = await self._opened(key, namespace, kafka)
                if isinstance(opened, Unknown):
                    return opened
                connection = opened
                async with connection.in_use():
                    return await question(connection)
        except (KafkaError, OSError, TimeoutError, SecretError) as error:
            # One that may not see its topic must not disturb the others.
            if (
                connection is not None
                and not isinstance(error, UNAUTHORIZED)
                and self._connections.get(key) is connection
            ):
                await self._discard(key)
            return self._unknown(kafka, error)

    async def forget(self, namespace: str, kafka: Kafka) -> None:
        """The next question opens a connection of its own: a second look, maybe at another broker."""
        await self._discard(share_key(namespace, kafka))

    async def close(self) -> None:
        """Closes all connections."""
        for key in list(self._connections):
            await self._discard(key)

    async def _opened(self, key: tuple[Any, ...], namespace: str, kafka: Kafka) -> KafkaConnection | Unknown:
        async with self._opening.setdefault(key, asyncio.Lock()):
            failed_at, failure = self._failures.get(key, (0.0, None))
            if failure and time.monotonic() - failed_at < FAILURE_SECONDS:
                return failure
            if key not in self._connections:
                connection = KafkaConnection(await client_arguments(self._cluster, namespace, kafka), self._timeout)
                try:
                    await connection.open()
                except BaseException as error:
                    await connection.retire()
                    if isinstance(error, Exception | asyncio.CancelledError):
                        self._failures[key] = time.monotonic(), self._unknown(kafka, error)
                    raise
                self._connections[key] = connection
                self._failures.pop(key, None)
            return self._connections[key]

    async def _discard(self, key: tuple[Any, ...]) -> None:
        if connection := self._connections.pop(key, None):
            await connection.retire()

    def _unknown(self, kafka: Kafka, error: BaseException) -> Unknown:
        servers = ",".join(kafka.bootstrap_servers)
        if isinstance(error, SecretError):
            return Unknown(SourceReason.NO_SECRET, str(error))
        if isinstance(error, TimeoutError | asyncio.CancelledError):
            text = f"Kafka at {servers} did not answer within {self._timeout:g} s"
            return Unknown(SourceReason.UNREACHABLE, text)
        reason = SourceReason.UNAUTHORIZED if isinstance(error, REFUSALS) else SourceReason.UNREACHABLE
        # A broker that refuses the client certificate does not know where that is set.
        alert = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
        ours = "ALERT" in alert and ("CERTIFICATE" in alert or alert.endswith("UNKNOWN_CA"))
        advice = "; check security.clientCertificateSecretRef" if ours else ""
        return Unknown(reason, f"Kafka at {servers} cannot be asked: {type(error).__name__}: {error}{advice}")


async def _look(connection: KafkaConnection, question: Question) -> Observation:
    kafka = question.kafka
    topics = await connection.topics()
    count = _count(topics, kafka.topic)
    if isinstance(count, Unknown):
        return nothing(count)
    dead = topics[question.dead_letters][1] if question.dead_letters in topics else None
    wanted = {kafka.topic: range(count)} | ({} if dead is None else {question.dead_letters: dead})
    bounds = await connection.bounds(wanted)
    offsets = await _offsets(connection, kafka, bounds[kafka.topic])
    if dead is None:
        return Observation(count, offsets, None)
    return Observation(count, offsets, await _dead(connection, question, bounds[question.dead_letters]))


def _count(topics: Topics, topic: str) -> Number:
    if topic not in topics:
        return Unknown(SourceReason.NO_TOPIC, f"there is no topic {topic}; create it")
    code, numbers = topics[topic]
    if code == TopicAuthorizationFailedError.errno:
        return Unknown(SourceReason.UNAUTHORIZED, f"topic {topic} may not be described; allow DESCRIBE on it")
    if code or not numbers or numbers != tuple(range(len(numbers))):
        return Unknown(SourceReason.PARTIAL, f"the brokers do not know all of topic {topic} (error code {code})")
    return len(numbers)


async def _offsets(connection: KafkaConnection, kafka: Kafka, bounds: tuple[dict[int, int], dict[int, int]]) -> Offsets:
    first, end = bounds
    committed = await connection.committed(kafka.consumer_group, kafka.topic, end)
    # Where a group that has committed nothing will begin.
    begin = first if kafka.start_from == "Earliest" else end
    position = {n: max(first[n], committed[n].offset) if n in committed else begin[n] for n in end}
    stable = await connection.stable(kafka.topic, end)
    return Offsets(first, end, position, {n: commit.offset for n, commit in committed.items()}, stable)


async def _dead(
    connection: KafkaConnection, question: Question, bounds: tuple[dict[int, int], dict[int, int]]
) -> Offsets:
    first, end = bounds
    position = {n: max(start, (question.handled or {}).get(n, 0)) for n, start in first.items()}
    for group in question.handled_by:
        for number, commit in (await connection.committed(group, question.dead_letters, end)).items():
            position[number] = max(position[number], commit.offset)
    return Offsets(first, end, position)
