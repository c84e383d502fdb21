"""Looks at the running system: first at the committed offsets, then at whether all below them is settled."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from chaos.ledger import Ledger
from checker.check import origin
from checker.history import DeadLetter, Observation, PartitionKey, Position
from checker.rules import stands_for
from fixtures.servers.place import Place

INTERVAL = 1.0
LIMIT = 5.0
"""Seconds that one question may take; a look that finds a server away is not a look."""

IDS_PER_QUESTION = 1000
UNAVAILABLE = (KafkaError, OSError, TimeoutError, aiohttp.ClientError, LookupError)


class _Found(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    found: bool = False
    version: int | None = msgspec.field(name="_version", default=None)
    source: msgspec.Raw = msgspec.field(name="_source", default_factory=msgspec.Raw)
    error: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct):
    """What `_mget` answers."""

    docs: list[_Found]


class Watch:
    """`observations` are the looks that were complete."""

    def __init__(self, place: Place, ledger: Ledger, session: aiohttp.ClientSession, letters: AIOKafkaConsumer) -> None:
        self.observations: list[Observation] = []
        self._place = place
        self._ledger = ledger
        self._session = session
        self._letters = letters
        self._dead: set[Position] = set()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.try_to_look()
            await asyncio.sleep(INTERVAL)

    async def try_to_look(self) -> bool:
        """One look; False when a server was unavailable."""
        try:
            await self._look()
        except UNAVAILABLE:
            return False
        return True

    async def _look(self) -> None:
        async with asyncio.timeout(LIMIT):
            committed = await committed_offsets(self._place, self._place.group)
        at = time.monotonic()
        settled = self._ledger.below(committed)
        await self._read_letters()
        found = await self._documents(sorted({event.transaction_id for event in settled if event.valid}))
        self._ledger.seen(settled)
        versions = {document.id: document.version if document.found else None for document in found}
        orders = {each.id: order for each in found if bytes(each.source) and (order := stands_for(bytes(each.source)))}
        self.observations.append(Observation(at, committed, versions, frozenset(self._dead), orders))

    async def _read_letters(self) -> None:
        """All dead letters that there are now."""
        places = self._letters.assignment()
        async with asyncio.timeout(LIMIT):
            ends = await self._letters.end_offsets(places)
        deadline = time.monotonic() + LIMIT
        while any([await self._letters.position(place) < end for place, end in ends.items()]):
            for records in (await self._letters.getmany(timeout_ms=200)).values():
                self._dead |= {place for record in records if (place := origin(as_dead_letter(record)))}
            if time.monotonic() > deadline:
                raise TimeoutError("dead letters cannot be read")

    async def _documents(self, ids: list[str]) -> list[_Found]:
        found: list[_Found] = []
        for start in range(0, len(ids), IDS_PER_QUESTION):
            found += await self._ask(ids[start : start + IDS_PER_QUESTION])
        return found

    async def _ask(self, ids: list[str]) -> list[_Found]:
        path = f"/{self._place.index}/_mget?_source_includes=event_type,_updated_at,_deleted_at,_position"
        async with self._session.post(path, json={"ids": ids}) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise LookupError(f"Elasticsearch answers {answer.status}")
        documents = msgspec.json.decode(body, type=Answer).docs
        if any(bytes(document.error) for document in documents):
            raise LookupError("Elasticsearch cannot say")
        return documents

    @classmethod
    @asynccontextmanager
    async def over(cls, place: Place, ledger: Ledger) -> AsyncIterator["Watch"]:
        """A watch over a place whose dead-letter topic is there. It asks the servers themselves: nothing is between."""
        letters = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka, auto_offset_reset="earliest")
        await letters.start()
        try:
            partitions = await place.partition_count(place.dead_letter_topic)
            letters.assign([TopicPartition(place.dead_letter_topic, number) for number in range(partitions)])
            timeout = aiohttp.ClientTimeout(LIMIT)
            async with aiohttp.ClientSession(place.servers.elasticsearch_url, timeout=timeout) as session:
                yield cls(place, ledger, session, letters)
        finally:
            await letters.stop()


async def committed_offsets(place: Place, group: str) -> dict[PartitionKey, int]:
    """What a group has committed of the place's topic."""
    found = await place.admin.list_consumer_group_offsets(group)
    return {(key.topic, key.partition): mark.offset for key, mark in found.items() if key.topic == place.name}


def as_dead_letter(record: object) -> DeadLetter:
    """A record of the client in the checker's words."""
    place = Position(record.topic, record.partition, record.offset)  # type: ignore[attr-defined]
    return DeadLetter(place, record.key, record.value, tuple(record.headers))  # type: ignore[attr-defined]
