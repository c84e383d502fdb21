"""A member of a consumer group that can be asked what the client's own consumer does not answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NoError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import OffsetAndMetadata

from activity_indexer.adapters.kafka.questions import MembersRequest, TopicRequest, holder_of, topic_id
from activity_indexer.adapters.kafka.records.internals import RecordsConsumer
from activity_indexer.positions import Bounds, Commit, Ends, Partition

LATEST: Final = -1
READ_UNCOMMITTED: Final = 0


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is now; `identifier` is empty where the broker gives none (before Kafka 2.8)."""

    name: str
    identifier: str
    partitions: int

    @property
    def places(self) -> list[Partition]:
        """Its partitions."""
        return [Partition(self.name, number) for number in range(self.partitions)]


class GroupMember(RecordsConsumer):
    """A consumer whose positions are decided by its owner.

    A static member asks who has its name in the group before it joins again: another process with the same name has
    taken its place, and to take it back would begin a fight that neither wins. `fenced` gets the reason, and
    None when it is over. Its methods raise the client's errors.
    """

    fenced: Callable[[str | None], None] = staticmethod(lambda _problem: None)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._update = self._client._metadata_update  # noqa: SLF001 - it has no other way
        self._client._metadata_update = self._update_without_creating  # noqa: SLF001

    async def _update_without_creating(self, metadata: Any, topics: Collection[str] | None) -> bool:
        """With auto.create.topics.enable, the client's question for a topic creates it; one for all creates none."""
        try:
            missing = any([await self.topic(name) is None for name in topics or ()])
        except KafkaError:
            missing = True
        return bool(await self._update(metadata, () if missing else topics))

    async def start(self) -> None:
        """Join the group."""
        await super().start()
        if self._group_instance_id:
            self._join_again = self._coordinator._do_rejoin_group  # noqa: SLF001 - it has no other way
            self._coordinator._do_rejoin_group = self._rejoin  # noqa: SLF001

    async def _rejoin(self, subscription: Any) -> bool:
        try:
            holder = await self._instance_holder()
        except KafkaError:  # to join without knowing would be the fight
            await asyncio.sleep(self._retry_backoff_ms / 1000)
            return False
        if holder is None:
            self.fenced(None)
            return bool(await self._join_again(subscription))
        self.fenced(name_in_use(self._group_instance_id, self._group_id, holder))
        closing = self._coordinator._closing  # noqa: SLF001
        await asyncio.wait([closing], timeout=self._session_timeout_ms / 1000)
        return False

    async def _instance_holder(self) -> str | None:
        coordinator = self._coordinator
        answer = await coordinator._send_req(MembersRequest(self._group_id))  # noqa: SLF001
        try:
            return holder_of(answer, self._group_instance_id, coordinator.member_id)
        except KafkaError:
            coordinator.coordinator_dead()
            raise

    def hold(self, partitions: Collection[Partition]) -> None:
        """Fetch nothing of these partitions, and forget what was fetched, until `go_on` says where to begin."""
        for place in map(_place, partitions):
            self.pause(place)
            self.seek(place, 0)

    def go_on(self, partition: Partition, offset: int) -> None:
        """Read the partition from this offset on."""
        self.seek(_place(partition), offset)
        self.resume(_place(partition))

    def position_now(self, partition: Partition) -> int | None:
        """The next offset that is handed out, as far as it is known without a question."""
        subscription = self._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(_place(partition)) if assignment is not None else None
        return state.position if state is not None and state.has_valid_position else None

    async def topic(self, name: str) -> TopicState | None:
        """The topic as it is now; None when it does not exist."""
        node = self._client.get_random_node()
        if node is None:
            raise NodeNotReadyError
        try:
            answer = await self._client.send(node, TopicRequest(name))
        except (IncompatibleBrokerVersion, NotImplementedError):  # Kafka before 2.8 has no ids
            numbers = self.partitions_for_topic(name)
            return TopicState(name, "", len(numbers)) if numbers else None
        (found,) = answer.to_object()["topics"]
        error = for_code(found["error_code"])
        if error is UnknownTopicOrPartitionError:
            return None
        if error not in (NoError, LeaderNotAvailableError):
            raise error(name)
        return TopicState(name, topic_id(found["topic_id"]), len(found["partitions"]))

    async def bounds(self, partitions: Collection[Partition]) -> dict[Partition, Bounds]:
        """The first offset and the end of each partition."""
        if not partitions:
            return {}
        first = await self.beginning_offsets([_place(partition) for partition in partitions])
        ends = await self._high_watermarks(partitions)
        return {partition: Bounds(first[_place(partition)], ends[partition]) for partition in partitions}

    async def ends(self, partitions: Collection[Partition]) -> dict[Partition, Ends]:
        """Where each partition ends, for all readers and for those of committed transactions."""
        if not partitions:
            return {}
        stable = await self.end_offsets([_place(partition) for partition in partitions])
        ends = await self._high_watermarks(partitions)
        return {partition: Ends(ends[partition], stable[_place(partition)]) for partition in partitions}

    async def _high_watermarks(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        questions: defaultdict[int, defaultdict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for partition in partitions:
            leader = self._client.cluster.leader_for_partition(_place(partition))
            if leader is None or leader < 0:
                raise LeaderNotAvailableError(partition)
            questions[leader][partition.topic].append((partition.partition, LATEST))
        answers = await asyncio.gather(
            *(
                self._client.send(node, OffsetRequest(LATEST, READ_UNCOMMITTED, list(topics.items())))
                for node, topics in questions.items()
            )
        )
        found: dict[Partition, int] = {}
        for topic, reported in (each for answer in answers for each in answer.topics):
            for number, code, *more in reported:
                if (error := for_code(code)) is not NoError:
                    raise error(Partition(topic, number))
                found[Partition(topic, number)] = more[-1]
        return found

    async def commits(self, partitions: Collection[Partition]) -> dict[Partition, Commit]:
        """What the group has committed; a partition without a commit is not among them."""
        found = await self._coordinator.fetch_committed_offsets([_place(partition) for partition in partitions])
        return {Partition(*place): Commit.read(kept.offset, kept.metadata) for place, kept in found.items()}

    async def commit(self, offsets: Any = None) -> None:
        """Commit. A commit that is given up goes on in the client: its failure is not reported then."""
        committing = asyncio.ensure_future(super().commit(offsets))
        committing.add_done_callback(_take_error)
        await asyncio.shield(committing)

    async def commit_for_group(self, commits: Mapping[Partition, Commit]) -> None:
        """Commit for any partitions of the topic, also for those that other members have."""
        subscription = self._subscription.subscription
        offsets = {
            _place(partition): OffsetAndMetadata(commit.offset, commit.metadata)
            for partition, commit in commits.items()
        }
        await self._coordinator.commit_offsets(subscription and subscription.assignment, offsets)


def name_in_use(instance: str, group: str, holder: str) -> str:
    """Why a static member stays out of its group."""
    return (
        f"KAFKA_GROUP_INSTANCE_ID={instance} is in use by another member of the group {group} ({holder}): give each "
        "indexer a name of its own. This one joins when the name is free"
    )


def _place(partition: Partition) -> TopicPartition:
    return TopicPartition(*partition)


def _take_error(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.exception()
