"""A connection to one Kafka cluster, shared by all objects that name it. It reads, and creates and joins nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from activity_common.kafka_connection import UNAUTHORIZED, connection_errors

FRESH_SECONDS: Final = 2.0
"""Age up to which one answer about the topics serves several objects."""
REFUSALS: Final = (*UNAUTHORIZED, ssl.SSLError)
"""Errors that wait for an operator to correct a user, a right or a certificate."""

Topics = Mapping[str, tuple[int, tuple[int, ...]]]
"""Error code and numbers of the partitions, by topic."""


class KafkaConnection:
    """Every call raises KafkaError, OSError or TimeoutError; after one of these the connection must be retired."""

    def __init__(self, arguments: dict[str, Any], timeout: float) -> None:
        self._arguments = {
            **arguments,
            "request_timeout_ms": int(timeout * 1000),
            "client_id": "activity-indexer-operator",
        }
        self._admin: Any = None
        self._consumer: Any = None
        self._stable: Any = None
        self._coordinators: dict[str, int] = {}
        self._topics: Topics = {}
        self._topics_at = float("-inf")
        self._asking = asyncio.Lock()
        self._users = 0
        self._retired = False

    async def open(self) -> None:
        """Connects. May be called again, and then does nothing."""
        if self._consumer is not None:
            return
        try:
            self._admin = AIOKafkaAdminClient(**self._arguments)
            await self._admin.start()
            self._stable = AIOKafkaConsumer(**self._arguments, isolation_level="read_committed")
            await self._stable.start()
            self._consumer = AIOKafkaConsumer(**self._arguments)
            await self._consumer.start()
        except KafkaConnectionError as error:
            raise await self._explained(error) from error

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """During a question: a connection that is retired meanwhile is closed only after it."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        """Closes the connection, or lets its last user close it. Never raises."""
        self._retired = True
        if self._users:
            return
        admin, consumers = self._admin, (self._consumer, self._stable)
        self._admin = self._consumer = self._stable = None
        for consumer in consumers:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                if consumer is not None:
                    await consumer.stop()
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            if admin is not None:
                await admin.close()

    async def topics(self) -> Topics:
        """All topics, from an answer that is at most FRESH_SECONDS old.

        Asking for one by name would create it on a broker with auto.create.topics.enable.
        """
        async with self._asking:
            if time.monotonic() - self._topics_at > FRESH_SECONDS:
                found = await self._admin.describe_topics()
                self._topics = {
                    topic["topic"]: (topic["error_code"], tuple(sorted(p["partition"] for p in topic["partitions"])))
                    for topic in found
                }
                self._topics_at = time.monotonic()
            return self._topics

    async def committed(self, group: str, topic: str, partitions: Iterable[int]) -> dict[int, OffsetAndMetadata]:
        """What a group has committed; a partition without a commit is missing."""
        wanted = [TopicPartition(topic, number) for number in partitions]
        admin = self._admin
        try:
            if group not in self._coordinators:
                self._coordinators[group] = await admin.find_coordinator(group)
            found = await admin.list_consumer_group_offsets(group, self._coordinators[group], wanted)
        except (KafkaError, AttributeError) as error:
            self._coordinators.pop(group, None)
            # The client itself fails over an answer that names another coordinator.
            raise error if isinstance(error, KafkaError) else KafkaError(str(error)) from error
        return {place.partition: commit for place, commit in found.items() if commit.offset >= 0}

    async def bounds(self, wanted: Mapping[str, Iterable[int]]) -> dict[str, tuple[dict[int, int], dict[int, int]]]:
        """First and end offsets of these partitions, by topic; the topics must exist."""
        places = [TopicPartition(topic, number) for topic, numbers in wanted.items() for number in numbers]
        if not places:
            return {topic: ({}, {}) for topic in wanted}
        first = await self._consumer.beginning_offsets(places)
        end = await self._consumer.end_offsets(places)
        return {topic: (_of(topic, first), _of(topic, end)) for topic in wanted}

    async def stable(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Up to where a consumer of committed transactions can read now; the topic must exist."""
        places = [TopicPartition(topic, number) for number in partitions]
        return _of(topic, await self._stable.end_offsets(places)) if places else {}

    async def _explained(self, error: Exception) -> Exception:
        """The client reports only that no server accepts it: a server that refuses us says why."""
        async with aclosing(connection_errors(self._arguments)) as reasons:
            async for reason in reasons:
                if isinstance(reason, REFUSALS):
                    return reason.with_traceback(None)
        return error


def _of(topic: str, offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {place.partition: offset for place, offset in offsets.items() if place.topic == topic}
