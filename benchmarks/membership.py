"""What membership of the consumer group costs: `PYTHONPATH=tests python benchmarks/membership.py [rounds]`.

Three indexers on six partitions of the local stack, under a steady load. A clean roll restarts one after the other;
then one is stopped for good, as by a scale-down, and two are started, as by a scale-up. For each: events that were
delivered again, and the longest time for which a partition that had events made no progress.

`… membership.py sessions 6 9 15` compares session timeouts (seconds): how long partitions are not consumed after one of
three indexers is killed, and what a pause of its process for PAUSE_SECONDS costs.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_stack import Stack

PARTITIONS = 6
MEMBERS = 3
EVENTS_PER_SECOND = 120
LOOK = 0.25
SETTLE_SECONDS = 6.0
PAUSE_SECONDS = 5.0


@dataclass
class Pauses:
    """The longest time without progress of any partition, in seconds, since the last reset."""

    longest: float = 0.0
    since: dict[int, float] = field(default_factory=dict)
    at: dict[int, int] = field(default_factory=dict)

    def saw(self, partition: int, committed: int, end: int) -> None:
        """Commits come every second, so a pause shows as one second at least."""
        now = time.monotonic()
        if self.at.get(partition) != committed or committed >= end:
            self.at[partition], self.since[partition] = committed, now
        self.longest = max(self.longest, now - self.since.get(partition, now))

    def reset(self) -> None:
        """A new phase begins."""
        self.longest, self.since = 0.0, dict.fromkeys(self.since, time.monotonic())


class Fleet:
    """The indexers of one group, and what they delivered twice."""

    def __init__(self, place: Place, folder: Path, static: bool, session: float = 30.0) -> None:
        self._place, self._folder, self._static, self._session = place, folder, static, session
        self.members: dict[int, Indexer] = {}
        self._ended = 0
        self._started = 0

    async def start(self, number: int) -> None:
        """Starts a member, and waits until it does its part."""
        identity = {"KAFKA_GROUP_INSTANCE_ID": f"member-{number}"} if self._static else {}
        variables = {
            "KAFKA_SESSION_TIMEOUT": str(self._session),
            "KAFKA_METADATA_MAX_AGE": "10",
            "CONSUMER_ENABLE_DEDUP": "true",
        }
        self._started += 1
        log = self._folder / f"{self._place.name}-{self._started}.log"
        self.members[number] = Indexer(self._place, log, variables | identity)
        await self.members[number].ready(90)

    async def stop(self, number: int) -> None:
        """Ends a member as Kubernetes does."""
        member = self.members.pop(number)
        self._ended += await _duplicates(member)
        member.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(member.process.wait, 60)

    def kill(self, number: int) -> None:
        """Ends a member as the kernel does that is out of memory."""
        self.members.pop(number).kill()

    async def freeze(self, number: int, seconds: float) -> None:
        """Pauses a member's process."""
        process = self.members[number].process
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    async def rebalances(self) -> int:
        """How often partitions were assigned to the members so far."""
        return sum([int(await member.metric("rebalances_total")) for member in self.members.values()])

    async def redelivered(self) -> int:
        """Events that came a second time, so far."""
        return self._ended + sum([await _duplicates(member) for member in self.members.values()])


async def _duplicates(member: Indexer) -> int:
    found = await member.outcomes()
    return found.get("duplicate", 0) + found.get("late", 0)


@asynccontextmanager
async def load(place: Place) -> AsyncIterator[None]:
    """Publishes to all partitions at a steady rate."""

    async def publish() -> None:
        number = 0
        while True:
            for _ in range(EVENTS_PER_SECOND // 10):
                await place.publish([event(f"t-{number}", user_id=f"user_{number}")], key=f"user_{number}")
                number += 1
            await asyncio.sleep(0.1)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        task.cancel()


@asynccontextmanager
async def watched(place: Place) -> AsyncIterator[Pauses]:
    """Looks at the group's commits and the topic's ends."""
    pauses = Pauses()
    wanted = [TopicPartition(place.name, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka)
    await consumer.start()

    async def watch() -> None:
        while True:
            ends = await consumer.end_offsets(wanted)
            commits = await place.admin.list_consumer_group_offsets(place.group, partitions=wanted)
            for partition in wanted:
                pauses.saw(partition.partition, commits[partition].offset, ends[partition])
            await asyncio.sleep(LOOK)

    task = asyncio.create_task(watch())
    try:
        yield pauses
    finally:
        task.cancel()
        await consumer.stop()


async def measure(servers: Servers, folder: Path, static: bool) -> list[tuple[str, int, float]]:
    """(phase, events delivered again, longest pause in seconds) of one kind of membership."""
    rows: list[tuple[str, int, float]] = []
    async with Place.on(servers, PARTITIONS) as place:
        fleet = Fleet(place, folder, static)
        for number in range(MEMBERS):
            await fleet.start(number)
        async with load(place), watched(place) as pauses:

            async def phase(name: str, steps: AsyncIterator[None]) -> None:
                await asyncio.sleep(SETTLE_SECONDS)
                before = await fleet.redelivered()
                pauses.reset()
                async for _ in steps:
                    await asyncio.sleep(SETTLE_SECONDS)
                rows.append((name, await fleet.redelivered() - before, pauses.longest))

            async def roll() -> AsyncIterator[None]:
                for number in range(MEMBERS):
                    await fleet.stop(number)
                    await fleet.start(number)
                    yield

            async def fewer() -> AsyncIterator[None]:
                await fleet.stop(MEMBERS - 1)
                yield
                await eventually(lambda: _short(pauses), timeout=90, every=0.5)

            async def more() -> AsyncIterator[None]:
                await fleet.start(MEMBERS - 1)
                await fleet.start(MEMBERS)
                yield

            await phase("nothing", _nothing())
            await phase("clean roll of 3", roll())
            await phase("scale-down 3 to 2", fewer())
            await phase("scale-up 2 to 4", more())
        for number in list(fleet.members):
            await fleet.stop(number)
    return rows


async def measure_session(servers: Servers, folder: Path, session: float) -> tuple[float, float, int, int]:
    """Longest pauses of a partition after a kill and over a freeze; rebalances and repeated events of the freeze."""
    async with Place.on(servers, PARTITIONS) as place:
        fleet = Fleet(place, folder, False, session)
        for number in range(MEMBERS):
            await fleet.start(number)
        async with load(place), watched(place) as pauses:
            await asyncio.sleep(SETTLE_SECONDS)
            rebalances, again = await fleet.rebalances(), await fleet.redelivered()
            pauses.reset()
            await fleet.freeze(0, PAUSE_SECONDS)
            await asyncio.sleep(SETTLE_SECONDS)
            frozen = pauses.longest
            rebalances, again = await fleet.rebalances() - rebalances, await fleet.redelivered() - again
            pauses.reset()
            fleet.kill(0)
            await asyncio.sleep(session + SETTLE_SECONDS)
            await eventually(lambda: _short(pauses), timeout=90, every=0.5)
            killed = pauses.longest
        for number in list(fleet.members):
            await fleet.stop(number)
    return killed, frozen, rebalances, again


async def _short(pauses: Pauses) -> bool:
    """Whether every partition moves again."""
    now = time.monotonic()
    return all(now - since < 2.5 for since in pauses.since.values())


async def _nothing() -> AsyncIterator[None]:
    yield


async def compare_members(servers: Servers, folder: Path, rounds: int) -> None:
    """Prints a table of dynamic and static members."""
    print("| membership | phase | events delivered again | longest pause of a partition (s) |")
    print("| --- | --- | --- | --- |")
    for _ in range(rounds):
        for static in (False, True):
            for name, again, pause in await measure(servers, folder, static):
                kind = "static" if static else "dynamic"
                print(f"| {kind} | {name} | {again} | {pause:.1f} |", flush=True)


async def compare_sessions(servers: Servers, folder: Path, sessions: list[float]) -> None:
    """Prints a table of session timeouts."""
    frozen = f"freeze of {PAUSE_SECONDS:g} s"
    print(f"| session timeout (s) | pause after kill -9 (s) | pause over a {frozen} (s) | its rebalances | repeated |")
    print("| --- | --- | --- | --- | --- |")
    for session in sessions:
        killed, frozen, rebalances, again = await measure_session(servers, folder, session)
        print(f"| {session:g} | {killed:.1f} | {frozen:.1f} | {rebalances} | {again} |", flush=True)


async def main(arguments: list[str]) -> None:
    """Prints what was asked for."""
    servers = Servers(Stack.load())
    with tempfile.TemporaryDirectory() as folder:
        if arguments[:1] == ["sessions"]:
            await compare_sessions(servers, Path(folder), [float(each) for each in arguments[1:]])
        else:
            await compare_members(servers, Path(folder), int(arguments[0]) if arguments else 1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
