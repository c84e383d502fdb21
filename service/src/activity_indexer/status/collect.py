"""Asks all servers at once, each within its time; one that is unavailable hides nothing of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version as installed_version
from typing import Final, TypeVar

import msgspec

from activity_indexer.adapters.kafka.address import http_address
from activity_indexer.adapters.kafka.dead_letters.reader import dead_letter_reader
from activity_indexer.dead_letters.grouping import Groups
from activity_indexer.dead_letters.spans import Span, Spans
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.facts import IndexerFacts
from activity_indexer.settings import KafkaSettings, Settings
from activity_indexer.status.indexers import indexer_facts
from activity_indexer.status.kafka import kafka_status
from activity_indexer.status.problems import find_problems, missing, problems_of_indexers, problems_of_lag
from activity_indexer.status.report import (
    Answer,
    Cause,
    DeadLetters,
    Group,
    Indexer,
    Status,
)
from activity_indexer.status.servers import audit_status, index_status, redis_status
from activity_indexer.timestamps import format_timestamp

CAUSES: Final = 10
"""Causes of dead letters that are listed."""

T = TypeVar("T", bound=msgspec.Struct)


async def collect(
    settings: Settings, interval: float, limit: float, sample: int, addresses: Sequence[str] = ()
) -> Status:
    """The status of everything. `interval` and `limit` are in seconds; `sample` bounds the dead letters read.

    The indexers are asked at the addresses that they stated in their group, and at `addresses`.
    """
    audited = settings.consumer.enable_audit_db
    kafka, index, redis, letters, audit = await asyncio.gather(
        answered(lambda: kafka_status(settings.kafka, audit=audited, interval=interval), limit + interval),
        answered(lambda: index_status(settings.elasticsearch), limit),
        answered(lambda: redis_status(settings.redis, limit), limit),
        answered(lambda: dead_letters(settings.kafka, sample), limit + interval),
        answered(lambda: audit_status(settings.database, settings.pipeline, limit), limit) if audited else _nothing(),
    )
    stated = stated_members(kafka.found.groups if kafka.found else [])
    indexers = await ask_indexers(settings, [*addresses, *stated], stated, limit)
    problems = [*find_problems(kafka, index, audit), *missing("Redis", redis)]
    problems += [*problems_of_indexers(indexers), *problems_of_lag(kafka.found.groups if kafka.found else [], indexers)]
    if kafka.up:
        problems += missing("the dead-letter topic", letters)
    return Status(
        at=format_timestamp(int(time.time()) * 1_000_000),
        version=installed_version("activity-indexer"),
        healthy=not problems,
        problems=problems,
        kafka=kafka,
        elasticsearch=index,
        redis=redis,
        postgresql=audit,
        dead_letters=letters,
        indexers=indexers,
    )


def stated_members(groups: Sequence[Group]) -> dict[str, list[str]]:
    """The members' addresses, each with the client ids that stated it: an indexer and its audit share one."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for member in group.members:
            if member.address:
                found.setdefault(member.address, []).append(member.client_id)
    return found


async def ask_indexers(
    settings: Settings, addresses: Sequence[str], stated: Mapping[str, list[str]], limit: float
) -> list[Indexer]:
    """What the indexers report about themselves, each once; those that do not answer are among them, with the reason.

    An indexer that waits for a server before it joins its group is not in the group: the port that the settings name is
    asked, too, as `status` mostly runs beside an indexer. It is left out when it is no indexer of this group.
    """
    consumer = settings.consumer
    beside = http_address(consumer.http_host, consumer.http_port).url("127.0.0.1") if consumer.http_port else None
    asked = list(dict.fromkeys(address.rstrip("/") for address in [*addresses, *([beside] if beside else [])]))
    answers = await asyncio.gather(*(answered(partial(indexer_facts, address), limit) for address in asked))
    found: dict[str, Indexer] = {}
    for address, answer in zip(asked, answers, strict=True):
        if address == beside and address not in addresses and not _of_group(answer, settings.kafka.consumer_group):
            continue
        name = answer.found.instance if answer.found else address
        found.setdefault(name, Indexer(address=address, members=stated.get(address, []), answer=answer))
    return list(found.values())


def _of_group(answer: Answer[IndexerFacts], group: str) -> bool:
    return answer.found is not None and answer.found.group == group


async def answered(ask: Callable[[], Awaitable[T]], limit: float) -> Answer[T]:
    """What was found, or why nothing was."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            found = await ask()
    except TimeoutError:
        return Answer(up=False, reason=f"no answer within {limit:g} s", seconds=limit)
    except ActivityIndexerError as error:
        return Answer(up=False, reason=str(error), seconds=_since(started))
    return Answer(up=True, seconds=_since(started), found=found)


async def dead_letters(settings: KafkaSettings, sample: int) -> DeadLetters:
    """How many there are, and the causes of the newest. Raises Unavailable or Refused."""
    async with dead_letter_reader(settings) as reader:
        spans = await reader.spans([settings.dead_letters])
        groups = Groups()
        async for batch in reader.read(newest(spans, sample)):
            for letter in batch:
                groups.add(letter)
    return DeadLetters(
        topic=settings.dead_letters,
        total=sum(span.length for span in spans.values()),
        sampled=groups.total,
        causes=[
            Cause(
                stage=group.key[0],
                error=group.key[1],
                field=group.key[2],
                count=group.count,
                last=format_timestamp(group.last),
            )
            for group in groups.largest(CAUSES)
        ],
    )


def newest(spans: Spans, sample: int) -> Spans:
    """The ends of the spans: about `sample` records in all, more of partitions that have more."""
    total = sum(span.length for span in spans.values())
    if total <= sample:
        return spans
    return {place: Span(span.end - span.length * sample // total, span.end) for place, span in spans.items()}


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


async def _nothing() -> None:
    return None
