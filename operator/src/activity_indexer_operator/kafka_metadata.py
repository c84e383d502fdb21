"""What Kafka says about a topic and a group. It only asks; it creates and joins nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from activity_indexer_operator.api import Kafka
from activity_indexer_operator.decide import Number, Unknown

log = logging.getLogger(__name__)


class KafkaTopics:
    """Asks with a connection per question; `timeout` limits a whole question, in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    async def partitions(self, kafka: Kafka) -> Number:
        """How many partitions the topic has."""
        return await self._ask(kafka, self._partitions)

    async def lag(self, kafka: Kafka, partitions: int) -> Number:
        """Events that the group has not committed; a partition it has never committed counts from its first event."""

        async def ask(found: Kafka) -> Number:
            wanted = [TopicPartition(found.topic, number) for number in range(partitions)]
            return await _lag(found, wanted, self._timeout)

        return await self._ask(kafka, ask)

    async def _ask(self, kafka: Kafka, question: Callable[[Kafka], Awaitable[Number]]) -> Number:
        servers = ",".join(kafka.bootstrap_servers)
        try:
            async with asyncio.timeout(self._timeout):
                return await question(kafka)
        except (KafkaError, OSError) as error:
            return Unknown("KafkaUnreachable", f"Kafka at {servers} cannot be asked: {type(error).__name__}: {error}")
        except TimeoutError:
            return Unknown("KafkaUnreachable", f"Kafka at {servers} did not answer within {self._timeout:g} s")

    async def _partitions(self, kafka: Kafka) -> Number:
        # All topics: asking for one by name would create it on a broker with auto.create.topics.enable.
        async with _Admin(kafka, self._timeout) as admin:
            topics: list[dict[str, Any]] = await admin.describe_topics()
        found = next((topic for topic in topics if topic["topic"] == kafka.topic), None)
        if found is None:
            return Unknown("TopicNotFound", f"there is no topic {kafka.topic}")
        if found["error_code"] or not found["partitions"]:
            return Unknown("TopicUnreadable", f"topic {kafka.topic} answers with error code {found['error_code']}")
        return len(found["partitions"])


class _Admin:
    def __init__(self, kafka: Kafka, timeout: float) -> None:
        self._client = AIOKafkaAdminClient(
            bootstrap_servers=list(kafka.bootstrap_servers), request_timeout_ms=int(timeout * 1000)
        )

    async def __aenter__(self) -> AIOKafkaAdminClient:
        try:
            await self._client.start()
        except BaseException:
            await self._client.close()
            raise
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def _lag(kafka: Kafka, wanted: list[TopicPartition], timeout: float) -> int:  # noqa: ASYNC109 - given on
    async with _Admin(kafka, timeout) as admin:
        committed = await admin.list_consumer_group_offsets(kafka.group, partitions=wanted)
    consumer = AIOKafkaConsumer(bootstrap_servers=list(kafka.bootstrap_servers), request_timeout_ms=int(timeout * 1000))
    try:
        await consumer.start()
        first = await consumer.beginning_offsets(wanted)
        last = await consumer.end_offsets(wanted)
    finally:
        await consumer.stop()
    return sum(last[tp] - max(first[tp], committed[tp].offset if tp in committed else 0) for tp in wanted)
