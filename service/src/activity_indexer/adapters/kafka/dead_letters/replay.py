"""The outside systems of a replay, opened and closed together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from activity_indexer.adapters.elasticsearch.replay_documents import replay_documents
from activity_indexer.adapters.kafka.client import Shape, admin_client, create_topic, topics, within
from activity_indexer.adapters.kafka.dead_letters.reader import dead_letter_reader
from activity_indexer.adapters.kafka.dead_letters.replay_lock import replay_lock
from activity_indexer.adapters.kafka.dead_letters.replay_positions import committed
from activity_indexer.adapters.kafka.dead_letters.replay_transactions import ReplayTransactions, replay_transactions
from activity_indexer.errors import Refused
from activity_indexer.ports import Partition
from activity_indexer.replay.ports import Commits
from activity_indexer.replay.session import Outside
from activity_indexer.settings import KafkaSettings, Settings

FOREVER: Final = "-1"
"""Retention of parked dead letters: they wait for people."""


@asynccontextmanager
async def replay_outside(settings: Settings, replay_id: str, topic: str) -> AsyncIterator[Outside]:
    """What a replay with this id needs, that sends to `topic`.

    Raises Unavailable or Refused, also for what is done with it.
    """
    kafka = settings.kafka
    async with AsyncExitStack() as stack:
        letters = await stack.enter_async_context(dead_letter_reader(kafka))
        documents = await stack.enter_async_context(replay_documents(settings.elasticsearch))
        groups = _Groups(kafka, await stack.enter_async_context(admin_client(kafka)))
        yield Outside(letters, documents, groups, lambda: _writing(kafka, replay_id, topic))


@asynccontextmanager
async def _writing(settings: KafkaSettings, replay_id: str, topic: str) -> AsyncIterator[ReplayTransactions]:
    """The lock and the transactional id have one name: one replay at a time for a group and a dead-letter topic."""
    name = f"{settings.consumer_group}.replay.{settings.dead_letters}"
    async with AsyncExitStack() as stack:
        await _prepare(settings)
        await stack.enter_async_context(replay_lock(settings, name, replay_id))
        group = f"{settings.consumer_group}.replay.{replay_id}"
        yield await stack.enter_async_context(replay_transactions(settings, name, group, [topic, settings.parked]))


async def _prepare(settings: KafkaSettings) -> None:
    """Create the topic of parked dead letters when absent. Raises Refused when there are no dead letters at all."""
    async with admin_client(settings) as client:
        known = await topics(client)
        source = known.get(settings.dead_letters)
        if source is None:
            raise Refused(f"the dead-letter topic {settings.dead_letters} is absent: is KAFKA_DEAD_LETTER_TOPIC right?")
        if settings.parked not in known:
            shape = Shape(source.partitions, settings.replication_factor or source.replicas)
            configs = {"max.message.bytes": str(settings.max_request_bytes), "retention.ms": FOREVER}
            await create_topic(client, settings.parked, shape, configs)


class _Groups:
    """replay.ports.Groups by an admin client."""

    def __init__(self, settings: KafkaSettings, client: Any) -> None:
        self._settings = settings
        self._client = client

    async def committed(self, group: str, partitions: Iterable[Partition]) -> Commits:
        """Offsets and metadata of those partitions that have them."""
        found: Commits = await within(self._settings.request_timeout, committed(self._client, group, partitions))
        return found
