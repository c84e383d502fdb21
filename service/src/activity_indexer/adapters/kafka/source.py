"""The consumer group's member, by aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.address import HttpAddress
from activity_indexer.adapters.kafka.client import mapped, within
from activity_indexer.adapters.kafka.consumers import check_instance, join_group
from activity_indexer.adapters.kafka.group_member import GroupMember
from activity_indexer.adapters.kafka.polling import BoundedPoll
from activity_indexer.adapters.kafka.positions import KnownTopic, Positions, Reader
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.memory import MemoryShares
from activity_indexer.ports import Record
from activity_indexer.positions import Commit, Ends, Partition
from activity_indexer.reports import Dependency, DependencyChanged, Emit, PartitionsCorrupt
from activity_indexer.settings import KafkaSettings


class GroupSource:
    """A member of the consumer group, as consumer.RecordSource wants it."""

    def __init__(
        self,
        settings: KafkaSettings,
        emit: Emit,
        address: HttpAddress | None = None,
        shares: MemoryShares | None = None,
    ) -> None:
        self._settings = settings
        self._shares = shares or MemoryShares()
        self._poll = BoundedPoll(self._shares.poll)
        self._emit = emit
        self._address = address
        self._known = KnownTopic()
        self._log = structlog.get_logger("activity_indexer.kafka")
        self._consumer: Any = None
        self._positions: Any = None
        self._tried = False

    async def start(self, member: Reader) -> None:
        """Join the group. Raises Unavailable or Refused.

        A static member that is started takes its predecessor's place at once. One that tries again asks before.
        """

        def positions(client: GroupMember) -> Positions:
            kafka = self._settings
            self._positions = Positions(client, kafka, member, self._emit, self._known, kafka.auto_offset_reset)
            return self._positions  # type: ignore[no-any-return]

        if self._tried:
            await check_instance(self._settings, self._settings.consumer_group)
        self._tried = True
        self._consumer = await join_group(
            self._settings,
            self._settings.consumer_group,
            positions,
            self._address,
            shares=self._shares,
        )

    def topic_id(self) -> str:
        """Id of the topic that the records of now come from; empty where it has none."""
        return self._positions.topic_id if self._positions is not None else ""

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            try:
                await self._positions.close()
                await self._consumer.stop()
            except CLIENT_ERRORS as error:
                self._log.warning("kafka.stop_failed", error=str(mapped(error)))

    async def poll(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:  # noqa: ASYNC109
        """Records of the current assignment; none when the client failed, which is reported."""
        self._positions.check()
        try:
            polled = await self._poll(self._consumer, timeout, max_records, self._shares.poll)
        except OffsetOutOfRangeError as error:
            self._positions.out_of_range(Partition(*place) for place in error.args[0])
            return {}
        except (KafkaError, OSError) as error:
            self._emit(DependencyChanged(Dependency.KAFKA, str(mapped(error))))
            await asyncio.sleep(1.0)
            return {}
        group = self._settings.consumer_group
        corrupt = {place: why.explained(place, group) for place, why in self._consumer.corrupt().items()}
        self._emit(PartitionsCorrupt(corrupt))
        if polled:
            self._emit(DependencyChanged(Dependency.KAFKA))
        return {Partition(*partition): records for partition, records in polled.items()}

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets, within the request timeout."""
        topic_id = self._positions.topic_id
        commits = {
            TopicPartition(*partition): (offset, Commit(offset, topic_id).metadata)
            for partition, offset in offsets.items()
        }
        await within(self._settings.request_timeout, self._consumer.commit(commits))

    async def position(self, partition: Partition) -> int | None:
        """The next offset that poll hands out."""
        return self._consumer.position_now(partition) if self._positions.decided(partition) else None

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Hand out these partitions from these offsets on."""
        assigned = self._consumer.assignment()
        for partition, offset in offsets.items():
            if (place := TopicPartition(*partition)) in assigned and self._positions.decided(partition):
                self._consumer.seek(place, offset)

    async def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, Ends]:
        """Where the partitions end now."""
        try:
            ends: Mapping[Partition, Ends] = await within(
                self._settings.request_timeout, self._consumer.ends(partitions)
            )
        except ActivityIndexerError as error:
            self._emit(DependencyChanged(Dependency.KAFKA, str(error)))
            raise
        self._emit(DependencyChanged(Dependency.KAFKA))
        self._positions.note(ends)
        return ends
