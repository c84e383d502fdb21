"""The consumer group's member, by aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from activity_indexer.adapters.kafka_client import CLIENT_ERRORS, mapped, within
from activity_indexer.adapters.kafka_consumers import join_group
from activity_indexer.adapters.kafka_member import HttpAddress
from activity_indexer.adapters.kafka_polling import BoundedPoll
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.memory import MemoryShares
from activity_indexer.ports import Partition, Record
from activity_indexer.settings import KafkaSettings


class Member(Protocol):
    """Who is told of assignments."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """The group gave these partitions."""

    async def revoked(self) -> None:
        """The group takes all partitions back."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: Member, fit: Callable[[int], None]) -> None:
        self._member = member
        self._fit = fit

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        if list(revoked):
            await self._member.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assigned = list(assigned)
        self._fit(len(assigned))
        await self._member.assigned([Partition(*partition) for partition in assigned])


class GroupSource:
    """A member of the consumer group, as consumer.RecordSource wants it."""

    def __init__(
        self,
        settings: KafkaSettings,
        report: Callable[[str | None], None],
        address: HttpAddress | None = None,
        report_corrupt: Callable[[Mapping[Partition, str]], None] = lambda _: None,
        shares: MemoryShares | None = None,
    ) -> None:
        self._settings = settings
        self._shares = shares or MemoryShares()
        self._poll = BoundedPoll(self._shares.poll)
        self._report = report
        self._address = address
        self._report_corrupt = report_corrupt
        self._log = structlog.get_logger("activity_indexer.kafka")
        self._consumer: Any = None

    async def start(self, member: Member) -> None:
        """Join the group. Raises Unavailable or Refused."""
        self._consumer = await join_group(
            self._settings,
            self._settings.consumer_group,
            _Listener(member, self._fit_fetches),
            self._address,
            fetch_max_bytes=self._shares.fetch,
            max_partition_fetch_bytes=self._shares.fetch_of_each(0),
        )
        self._fit_fetches(len(self._consumer.assignment()))

    def _fit_fetches(self, partitions: int) -> None:
        if self._consumer is not None:
            self._consumer.fit_fetches(self._shares.fetch_of_each(partitions))

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            try:
                await self._consumer.stop()
            except CLIENT_ERRORS as error:
                self._log.warning("kafka.stop_failed", error=str(mapped(error)))

    async def poll(self, timeout: float, max_records: int) -> Mapping[Partition, Sequence[Record]]:  # noqa: ASYNC109
        """Records of the current assignment; none when the client failed, which is reported."""
        try:
            polled = await self._poll(self._consumer, timeout, max_records, self._shares.poll)
        except (KafkaError, OSError) as error:
            self._report(str(mapped(error)))
            await asyncio.sleep(1.0)
            return {}
        group = self._settings.consumer_group
        self._report_corrupt({place: why.explained(place, group) for place, why in self._consumer.corrupt().items()})
        if polled:
            self._report(None)
        return {Partition(*partition): records for partition, records in polled.items()}

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets, within the request timeout."""
        await within(
            self._settings.request_timeout,
            self._consumer.commit({TopicPartition(*partition): offset for partition, offset in offsets.items()}),
        )

    async def position(self, partition: Partition) -> int | None:
        """The next offset that poll hands out."""
        state = self._consumer.assignment()
        if TopicPartition(*partition) not in state:
            return None
        position: int = await within(1.0, self._consumer.position(TopicPartition(*partition)))
        return position

    async def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Hand out these partitions from these offsets on."""
        assigned = self._consumer.assignment()
        for partition, offset in offsets.items():
            if (place := TopicPartition(*partition)) in assigned:
                self._consumer.seek(place, offset)

    async def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Where the partitions end now."""
        try:
            ends = await within(
                self._settings.request_timeout,
                self._consumer.end_offsets([TopicPartition(*partition) for partition in partitions]),
            )
        except ActivityIndexerError as error:
            self._report(str(error))
            raise
        self._report(None)
        return {Partition(*partition): end for partition, end in ends.items()}
