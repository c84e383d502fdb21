"""Writes dead letters back into their topic: all of them, or none."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from activity_common.kafka_connection import CLIENT_ERRORS
from activity_indexer.adapters.kafka.batches import Partitions, batches, handed_over
from activity_indexer.adapters.kafka.client import client_arguments, mapped, prepare_topics
from activity_indexer.adapters.kafka.dead_letters.topic import COMPRESSION
from activity_indexer.ports import OutRecord
from activity_indexer.settings import KafkaSettings

TRANSACTION_TIMEOUT: Final = 900_000
"""Milliseconds after which the broker gives an import up; its own default limit."""

IN_FLIGHT: Final = 1000
"""Records that are sent before the first of them must be there."""


async def restore(settings: KafkaSettings, records: Iterable[OutRecord], notify: Callable[[int], None]) -> int:
    """Write all records in one transaction; returns how many. `notify` is called with those that are there so far.

    The key decides the partition, as with every dead letter. A second import takes over from the first, which fails.
    Raises Unavailable or Refused, and whatever `records` raises: then nothing is to be seen of it.
    """
    await prepare_topics(settings)
    producer = AIOKafkaProducer(
        **client_arguments(settings),
        transactional_id=f"{settings.consumer_group}.import.{settings.dead_letters}",
        transaction_timeout_ms=TRANSACTION_TIMEOUT,
        max_request_size=settings.max_request_bytes,
        compression_type=COMPRESSION,
        linger_ms=5,
    )
    try:
        await producer.start()
        async with producer.transaction():
            return await _send(producer, settings.dead_letters, records, notify)
    except CLIENT_ERRORS as error:
        raise mapped(error) from error
    finally:
        await producer.stop()


async def _send(producer: Any, topic: str, records: Iterable[OutRecord], notify: Callable[[int], None]) -> int:
    partitions = await Partitions.of(producer, topic)
    waiting, sent = iter(records), 0
    while chunk := list(islice(waiting, IN_FLIGHT)):
        together: defaultdict[int, list[OutRecord]] = defaultdict(list)
        for record in chunk:
            together[partitions.choose(record.key)].append(record)
        await asyncio.gather(*(_write(producer, topic, number, found) for number, found in together.items()))
        sent += len(chunk)
        notify(sent)
    return sent


async def _write(producer: Any, topic: str, partition: int, records: Sequence[OutRecord]) -> None:
    for batch, _ in batches(producer, records):
        await (await handed_over(producer, batch, topic, partition))
