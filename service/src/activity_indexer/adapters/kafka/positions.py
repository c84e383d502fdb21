"""Decides where a member of a group reads its partitions, and looks after what its positions mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition

from activity_indexer.adapters.kafka.client import within
from activity_indexer.adapters.kafka.group_member import GroupMember, TopicState
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.positions import (
    RECREATED,
    TRUNCATION,
    Bounds,
    Commit,
    Ends,
    Loss,
    Partition,
    Start,
    Stored,
    begin,
)
from activity_indexer.reports import Dependency, DependencyChanged, Emit, EventsLost, ProblemChanged, TopicRecreated
from activity_indexer.settings import KafkaSettings

RETRY: Final = 1.0
"""Pause before a question is asked again that was not answered, or while the topic is missing (seconds)."""

OTHERS_DECIDE: Final = 0.25
"""Pause before looking again whether the member that has partition 0 decided where the new group begins (seconds)."""


class Reader(Protocol):
    """Takes the records of the partitions, and is informed of assignments."""

    async def assigned(self, partitions: Collection[Partition]) -> None:
        """These partitions are read from now on."""

    async def revoked(self) -> None:
        """All partitions are taken away: finish what was taken in, commit it, and forget the offsets."""


@dataclass(slots=True)
class KnownTopic:
    """The topic that positions in memory belong to; it outlives the client.

    `identifier` is its id (empty: not known yet), `unread` what it was last seen to hold that was not read.
    """

    identifier: str = ""
    unread: dict[Partition, Loss] = field(default_factory=dict)

    def is_another(self, topic: TopicState) -> bool:
        """Whether this topic is not the one that is known."""
        return not Commit(0, self.identifier).belongs_to(topic.identifier)


Began = Callable[[Partition, Start, str], None]
"""Called with where reading a partition begins, and the id of its topic, before the first record comes."""


class Positions(ConsumerRebalanceListener):  # type: ignore[misc]
    """The rebalance listener of a member. It lets no record through before it knows where reading begins.

    A group without any commit for the topic is new: it begins where `reset` says, and where that is the end, the member
    that has partition 0 commits the ends of all partitions at once, so that all members begin at the same moment. A
    partition without a commit in a group that has some was added later, and begins at its first record. So does a
    topic that was deleted and created again: its id is committed with each offset, and is looked at each
    KAFKA_METADATA_MAX_AGE. `stored` gives what is committed, where that is not the group's offsets.
    """

    def __init__(
        self,
        client: GroupMember,
        settings: KafkaSettings,
        reader: Reader,
        emit: Emit,
        known: KnownTopic,
        reset: Literal["earliest", "latest"],
        stored: Stored | None = None,
        began: Began | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._reader = reader
        self._emit = emit
        self._known = known
        self._reset = reset
        self._stored: Stored = stored or client.commits
        self._began = began
        self._places: list[Partition] = []
        self._undecided: set[Partition] = set()
        self._astray: set[Partition] = set()
        self._instead: dict[Partition, Commit] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        client.fenced = lambda problem: emit(ProblemChanged("membership", problem))

    @property
    def topic_id(self) -> str:
        """Id of the topic that the positions belong to; empty when it has none."""
        return self._known.identifier

    def decided(self, partition: Partition) -> bool:
        """Whether the client's position of this partition is where reading goes on."""
        return partition not in self._undecided

    def note(self, ends: Mapping[Partition, Ends]) -> None:
        """Where partitions end now: what of them is not read is lost should the topic be deleted."""
        for place, (end, _) in ends.items():
            position = self._client.position_now(place) if self.decided(place) else None
            if position is not None:
                self._known.unread[place] = Loss(place, RECREATED, position, max(0, end - position))

    def out_of_range(self, partitions: Iterable[Partition]) -> None:
        """The broker does not have the offsets that the client asked for."""
        self._astray.update(partitions)
        self._wake.set()

    def check(self) -> None:
        """Raises a defect that ended the looking after: nothing would decide where to read any more."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def close(self) -> None:
        """Decide nothing any more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group takes all partitions back."""
        await self.close()
        self._places = []
        if list(revoked):
            await self._reader.revoked()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The group gave these partitions; they are held before the client can fetch anything."""
        places = [Partition(*place) for place in assigned]
        self._hold(places)
        self._places = places
        self._astray.clear()
        await self._reader.assigned(places)
        self._task = asyncio.create_task(self._look_after())

    def _hold(self, places: Collection[Partition]) -> None:
        self._client.hold(places)
        self._undecided = set(places)

    async def _look_after(self) -> None:
        await self._patiently(self._begin)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.metadata_max_age):
                    await self._wake.wait()
            self._wake.clear()
            await self._patiently(self._check)

    async def _patiently(self, step: Callable[[], Awaitable[bool]]) -> None:
        """Take a step until it is done, whatever is in the way."""
        while True:
            try:
                if await step():
                    return
            except ActivityIndexerError as error:
                self._emit(DependencyChanged(Dependency.KAFKA, str(error)))
            await asyncio.sleep(RETRY)

    async def _topic(self) -> TopicState | None:
        name = self._settings.transactions_topic
        topic: TopicState | None = await self._ask(self._client.topic(name))
        self._emit(DependencyChanged(Dependency.KAFKA))
        self._emit(ProblemChanged("topic", None if topic else f"topic {name} does not exist: create it"))
        return topic

    async def _begin(self) -> bool:
        """Decide where all partitions begin; False while that cannot be done."""
        topic = await self._topic()
        if topic is None:
            return False
        if not self._places:
            return True
        while not (commits := await self._ask(self._stored(topic.places))) and self._at_end:
            if Partition(topic.name, 0) in self._places:
                bounds = await self._ask(self._client.bounds(topic.places))
                starts = {place: Commit(bound.end, topic.identifier) for place, bound in bounds.items()}
                await self._ask(self._client.commit_for_group(starts))
            else:
                await asyncio.sleep(OTHERS_DECIDE)
        await self._settle(topic, self._places, {**commits, **self._instead})
        self._instead = {}
        return True

    @property
    def _at_end(self) -> bool:
        return self._reset == "latest" and not self._known.identifier

    async def _settle(
        self, topic: TopicState, places: Collection[Partition], commits: Mapping[Partition, Commit]
    ) -> None:
        bounds: Mapping[Partition, Bounds] = await self._ask(self._client.bounds(places))
        foreign = any(not commits[place].belongs_to(topic.identifier) for place in places if place in commits)
        if foreign or self._known.is_another(topic):
            self._emit(TopicRecreated(topic.name))
            for loss in self._known.unread.values():
                if loss.events:
                    self._emit(EventsLost(loss))
            self._known.unread.clear()
        self._known.identifier = topic.identifier
        for place in places:
            start = begin(place, commits.get(place), bounds[place], topic.identifier)
            if start.loss is not None:
                self._emit(EventsLost(start.loss))
            if self._began is not None:
                self._began(place, start, topic.identifier)
            self._client.go_on(place, start.offset)
            self._undecided.discard(place)

    async def _check(self) -> bool:
        """Whether positions still mean what they did; sets right those that do not."""
        topic = await self._topic()
        if topic is None or not self._places:
            return True
        if self._known.is_another(topic):
            self.note({place: Ends(loss.first + loss.events, 0) for place, loss in self._known.unread.items()})
            await self._restart()
        elif self._astray:
            await self._find_way_back(topic)
        return True

    async def _find_way_back(self, topic: TopicState) -> None:
        """A place that is out of range does not move, so that its position is the one that was asked for."""
        places = [place for place in self._astray if self.decided(place)]
        asked = {place: Commit(await self._position(place), topic.identifier) for place in places}
        bounds = await self._ask(self._client.bounds(places))
        losses = {place: begin(place, asked[place], bounds[place], topic.identifier).loss for place in places}
        if any(loss is not None and loss.reason == TRUNCATION for loss in losses.values()):
            self._instead = {place: asked[place] for place in places if losses[place]}
            await self._restart()
        else:
            await self._settle(topic, [place for place in places if losses[place]], asked)
        self._astray.difference_update(places)

    async def _restart(self) -> None:
        """Go back: what was taken in is finished as in a rebalance, since offsets only ever grow within one."""
        self._hold(self._places)
        self._astray.clear()
        await self._reader.revoked()
        await self._reader.assigned(self._places)
        await self._patiently(self._begin)

    async def _position(self, partition: Partition) -> int:
        position: int = await self._ask(self._client.position(TopicPartition(*partition)))
        return position

    async def _ask(self, question: Awaitable[Any]) -> Any:
        return await within(self._settings.request_timeout, question)
