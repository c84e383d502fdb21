"""Gathers events into one batch of records for each partition; the client sends whole batches.

The client's `send` costs a coroutine, a future and a callback for each record, several times what the record itself
costs. A batch has one of each.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from activity_loadgen.generate import Event, Header

KEYS_KEPT: Final = 100_000
"""Keys whose partition is kept: the hash is computed in Python."""

_NO_HEADERS: Final[list[Header]] = []


class Gathered(msgspec.Struct, gc=False):
    """The events of one batch in the order of their offsets, and when each was handed over (nanoseconds)."""

    builder: BatchBuilder
    events: list[Event]
    started: list[int]


Settle = Callable[[Gathered, asyncio.Future[RecordMetadata]], None]


class Outbox:
    """Sends events in order within each partition; `settle` is called once for each batch."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, settle: Settle) -> None:
        self.taken = 0
        self._producer = producer
        self._topic = topic
        self._settle = settle
        self._open: dict[int, Gathered] = {}
        self._since = 0.0
        self._partitions: list[int] = []
        self._partition_of: Callable[[bytes], int] = lambda _: 0

    @property
    def age(self) -> float:
        """For how many seconds the oldest event has waited here; 0 when none does."""
        return time.monotonic() - self._since if self._open else 0.0

    async def add(self, events: Iterable[Event], started: int) -> None:
        """Take events, and send the batches that are full; `taken` counts the events.

        Waits while a partition has a batch under way and another one that waits for it.
        """
        await self._look_up_partitions()
        timestamp = started // 1_000_000
        for event in events:
            self.taken += 1
            partition = self._partition_of(event.key)
            gathered = self._open.get(partition) or self._begin(partition)
            headers = [*event.headers] if event.headers else _NO_HEADERS
            place = gathered.builder.append(timestamp=timestamp, key=event.key, value=event.value, headers=headers)
            if place is None:  # full; an empty batch takes an event of any size
                await self._send(partition)
                gathered = self._begin(partition)
                gathered.builder.append(timestamp=timestamp, key=event.key, value=event.value, headers=headers)
            gathered.events.append(event)
            gathered.started.append(started)

    async def flush(self) -> None:
        """Send what has gathered."""
        for partition in list(self._open):
            await self._send(partition)

    def _begin(self, partition: int) -> Gathered:
        if not self._open:
            self._since = time.monotonic()
        gathered = self._open[partition] = Gathered(self._producer.create_batch(), [], [])
        return gathered

    async def _send(self, partition: int) -> None:
        gathered = self._open.pop(partition)
        gathered.builder.close()
        future: asyncio.Future[RecordMetadata] | None = None
        while future is None:
            try:
                future = await self._producer.send_batch(gathered.builder, self._topic, partition=partition)
            except KafkaTimeoutError:  # the batches before are still under way: the caller decides how long to wait
                continue
            except KafkaError as error:
                future = asyncio.get_running_loop().create_future()
                future.set_exception(error)
        future.add_done_callback(partial(self._settle, gathered))

    async def _look_up_partitions(self) -> None:
        """Notice when the topic has got more partitions: keys move then, as with any producer."""
        partitions = sorted(await self._producer.partitions_for(self._topic))
        if partitions != self._partitions:
            self._partitions = partitions
            choose = DefaultPartitioner()
            self._partition_of = lru_cache(maxsize=KEYS_KEPT)(lambda key: choose(key, partitions, partitions))
