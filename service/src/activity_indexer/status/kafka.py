"""Topics, groups, lag and rates of a Kafka cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.conn import create_conn
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from activity_indexer.adapters.kafka.address import stated_address
from activity_indexer.adapters.kafka.client import Shape, admin_client, client_arguments, mapped, topics, within
from activity_indexer.adapters.kafka.consumers import reading
from activity_indexer.settings import KafkaSettings
from activity_indexer.status.kafka_version import VersionsRequest, metadata_version, release
from activity_indexer.status.report import Group, Kafka, Member, Topic

Offsets = Mapping[TopicPartition, int]


class _Moment(NamedTuple):
    at: float
    ends: Offsets
    stable: Offsets
    """Where transactions that are still open begin; the end where there are none."""
    committed: Mapping[str, Offsets]


async def kafka_status(settings: KafkaSettings, *, audit: bool, interval: float) -> Kafka:
    """Asked twice, `interval` seconds apart, for the rates. Raises Unavailable or Refused."""
    roles = {"indexer": settings.consumer_group} | ({"audit": settings.audit_group} if audit else {})
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(admin_client(settings))
        known = await topics(admin)
        cluster = await admin.describe_cluster()
        consumer = await stack.enter_async_context(reading(settings, isolation_level="read_uncommitted"))
        stable = await stack.enter_async_context(reading(settings))
        reader = _Reader(settings, admin, consumer, stable, known, list(roles.values()))
        first, beginnings = await reader.moment(), await reader.beginnings()
        await asyncio.sleep(interval)
        last = await reader.moment()
        return Kafka(
            version=await _version(settings),
            brokers=len(cluster["brokers"]),
            interval=round(last.at - first.at, 3),
            topics=[_topic(role, name, known, beginnings, first, last) for role, name in reader.names.items()],
            groups=[await reader.group(role, name, beginnings, first, last) for role, name in roles.items()],
        )


class _Reader:
    def __init__(
        self,
        settings: KafkaSettings,
        admin: Any,
        consumer: Any,
        stable: Any,
        known: Mapping[str, Shape],
        groups: list[str],
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._consumer = consumer
        self._stable = stable
        self._groups = groups
        source, dead = settings.transactions_topic, settings.dead_letters
        self.names = {"transactions": source, "deadLetters": dead, "parked": settings.parked}
        self.places = [
            TopicPartition(name, number)
            for name in self.names.values()
            for number in range(known[name].partitions if name in known else 0)
        ]

    async def moment(self) -> _Moment:
        """Ends and commits now."""
        stable = await self._ask(self._stable.end_offsets(self.places)) if self.places else {}
        ends = await self._ask(self._consumer.end_offsets(self.places)) if self.places else {}
        committed = {}
        for group in self._groups:
            found = await self._ask(self._admin.list_consumer_group_offsets(group))
            committed[group] = {place: at.offset for place, at in found.items() if at.offset >= 0}
        return _Moment(time.monotonic(), ends, stable, committed)

    async def beginnings(self) -> Offsets:
        """The first offsets that are still there."""
        found: Offsets = await self._ask(self._consumer.beginning_offsets(self.places)) if self.places else {}
        return found

    async def group(self, role: str, name: str, beginnings: Offsets, first: _Moment, last: _Moment) -> Group:
        """A group's members and lag."""
        topic = self._settings.transactions_topic
        places = [place for place in self.places if place.topic == topic]
        reported = (await self._ask(self._admin.describe_consumer_groups([name])))[0].groups[0]
        lag = {str(place.partition): _lag(last, name, place) for place in places}
        moved = sum(last.committed[name].get(p, 0) - first.committed[name].get(p, 0) for p in places)
        return Group(
            role=role,
            name=name,
            state=reported[2],
            members=sorted((_member(each, topic) for each in reported[5]), key=lambda found: found.partitions),
            lag=lag,
            total_lag=sum(
                last.ends[p] if lag[str(p.partition)] is None else lag[str(p.partition)] or 0 for p in places
            ),
            per_second=_rate(moved, first, last),
            lost={
                str(place.partition): beginnings[place] - at
                for place in places
                if (at := last.committed[name].get(place)) is not None and at < beginnings[place]
            },
            standing=[place.partition for place in places if _stands(first, last, name, place)],
        )

    async def _ask(self, question: Any) -> Any:
        return await within(self._settings.request_timeout, question)


def _lag(moment: _Moment, group: str, place: TopicPartition) -> int | None:
    at = moment.committed[group].get(place)
    return None if at is None else max(0, moment.ends[place] - at)


def _stands(first: _Moment, last: _Moment, group: str, place: TopicPartition) -> bool:
    """Whether records have waited for the whole interval, and none of them was settled."""
    before, after = first.committed[group].get(place), last.committed[group].get(place)
    return before == after and first.ends[place] > (before or 0) and bool(_lag(last, group, place) != 0)


def _behind_transaction(first: _Moment, last: _Moment, place: TopicPartition) -> int:
    """Records behind a transaction that was open for the whole interval: shorter ones are a producer's daily work."""
    opened = last.stable[place]
    return last.ends[place] - opened if first.stable[place] == opened < first.ends[place] else 0


def _topic(
    role: str, name: str, known: Mapping[str, Shape], beginnings: Offsets, first: _Moment, last: _Moment
) -> Topic:
    if name not in known:
        return Topic(role=role, name=name, exists=False)
    places = [place for place in last.ends if place.topic == name]
    return Topic(
        role=role,
        name=name,
        exists=True,
        partitions=known[name].partitions,
        replicas=known[name].replicas,
        records=sum(last.ends[place] - beginnings[place] for place in places),
        per_second=_rate(sum(last.ends[place] - first.ends[place] for place in places), first, last),
        behind_transaction={
            str(place.partition): hidden for place in places if (hidden := _behind_transaction(first, last, place))
        },
    )


def _rate(count: int, first: _Moment, last: _Moment) -> float:
    return round(max(0, count) / max(0.001, last.at - first.at), 1)


def _member(reported: Any, topic: str) -> Member:
    _, client_id, host, metadata, assignment = reported
    partitions = []
    if assignment:
        found = ConsumerProtocolMemberAssignment.decode(assignment)
        partitions = sorted(place.partition for place in found.partitions() if place.topic == topic)
    host = host.lstrip("/")
    stated = stated_address(metadata)
    return Member(client_id=client_id, host=host, partitions=partitions, address=stated.url(host) if stated else None)


async def _version(settings: KafkaSettings) -> str:
    """What one of the brokers answers; any error only leaves the version unknown."""
    arguments = client_arguments(settings)
    del arguments["metadata_max_age_ms"]
    host, _, port = arguments.pop("bootstrap_servers")[0].rpartition(":")
    try:
        connection = await create_conn(host.strip("[]"), int(port), **arguments)
        try:
            return release(metadata_version(await connection.send(VersionsRequest())))
        finally:
            connection.close()
    except Exception as error:  # noqa: BLE001 - a version is no reason to show nothing else
        return f"unknown ({mapped(error)})"
