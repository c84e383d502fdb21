"""Reads ranges of the transactions topic without a group, and reports how far groups have come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition

from activity_indexer.adapters.kafka.client import admin_client, topics, within
from activity_indexer.adapters.kafka.consumers import reading
from activity_indexer.errors import Refused
from activity_indexer.ports import Record
from activity_indexer.settings import KafkaSettings

Offsets = Mapping[int, int]
"""An offset for each partition, by the partition's number."""


class TopicReader:
    """One topic, read committed. Every method raises Unavailable or Refused."""

    def __init__(self, settings: KafkaSettings, consumer: Any, admin: Any) -> None:
        self._settings = settings
        self._consumer = consumer
        self._admin = admin

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings) -> AsyncIterator[TopicReader]:
        """Connects; refuses a topic that does not exist, since a question may create it."""
        topic = settings.transactions_topic
        async with admin_client(settings) as admin:
            shape = (await topics(admin)).get(topic)
            if shape is None:
                raise Refused(f"topic {topic} does not exist: create it, or correct KAFKA_TRANSACTIONS_TOPIC")
            async with reading(settings) as consumer:
                consumer.assign([TopicPartition(topic, number) for number in range(shape.partitions)])
                yield cls(settings, consumer, admin)

    async def ends(self) -> Offsets:
        """Where each partition ends now: the offset that the next record gets."""
        return self._plain(await self._within(self._consumer.end_offsets(self._places())))

    async def beginnings(self) -> Offsets:
        """The first offset of each partition that is still there."""
        return self._plain(await self._within(self._consumer.beginning_offsets(self._places())))

    async def committed(self, group: str) -> Offsets:
        """What the group has committed; partitions without a commit are left out."""
        found = await self._within(self._admin.list_consumer_group_offsets(group))
        topic = self._settings.transactions_topic
        return {place.partition: at.offset for place, at in found.items() if place.topic == topic and at.offset >= 0}

    async def read(self, start: Offsets, end: Offsets) -> AsyncIterator[Sequence[Record]]:
        """The records of the ranges [start, end), some at a time; without a start, from the earliest."""
        places = [place for place in self._places() if end.get(place.partition, 0) > start.get(place.partition, 0)]
        await self._seek(places, start)
        waiting = set(places)
        while waiting:
            polled = await self._within(self._consumer.getmany(*waiting, timeout_ms=500, max_records=1000))
            if not polled:
                self._consumer.check()
            for place, records in polled.items():
                if wanted := [record for record in records if record.offset < end[place.partition]]:
                    yield wanted
            waiting = {place for place in waiting if await self._position(place) < end[place.partition]}

    async def _seek(self, places: Sequence[TopicPartition], start: Offsets) -> None:
        earliest = await self.beginnings()
        self._consumer.pause(*self._places())
        for place in places:
            self._consumer.seek(place, max(start.get(place.partition, 0), earliest[place.partition]))
        self._consumer.resume(*places)

    async def _position(self, place: TopicPartition) -> int:
        return int(await self._within(self._consumer.position(place)))

    async def _within(self, question: Any) -> Any:
        return await within(self._settings.request_timeout, question)

    def _places(self) -> list[TopicPartition]:
        return sorted(self._consumer.assignment())

    @staticmethod
    def _plain(offsets: Mapping[TopicPartition, int]) -> Offsets:
        return {place.partition: offset for place, offset in offsets.items()}


def passed(committed: Offsets, marks: Offsets) -> bool:
    """Whether a group has committed all that lies before the marks."""
    return all(mark == 0 or committed.get(partition, 0) >= mark for partition, mark in marks.items())
