"""Asks all servers at once, each within its time; one that is away hides nothing of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version as installed_version
from typing import Final, TypeVar

from activity_indexer.adapters.dead_letter_reader import dead_letter_reader
from activity_indexer.adapters.kafka_status import kafka_status
from activity_indexer.adapters.server_status import audit_status, index_status, redis_status
from activity_indexer.dead_letters.grouping import Groups
from activity_indexer.dead_letters.spans import Span, Spans
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.settings import KafkaSettings, Settings
from activity_indexer.status.report import Answer, Audit, Cause, DeadLetters, Group, Index, Kafka, Report, Status, Topic
from activity_indexer.timestamps import format_timestamp

CAUSES: Final = 10
"""Causes of dead letters that are told."""

T = TypeVar("T", bound=Report)


async def collect(settings: Settings, interval: float, limit: float, sample: int) -> Status:
    """The status of everything. `interval` and `limit` are in seconds; `sample` bounds the dead letters read."""
    audited = settings.consumer.enable_audit_db
    kafka, index, redis, letters, audit = await asyncio.gather(
        answered(lambda: kafka_status(settings.kafka, audit=audited, interval=interval), limit + interval),
        answered(lambda: index_status(settings.elasticsearch), limit),
        answered(lambda: redis_status(settings.redis, limit), limit),
        answered(lambda: dead_letters(settings.kafka, sample), limit + interval),
        answered(lambda: audit_status(settings.database, settings.pipeline, limit), limit) if audited else _nothing(),
    )
    problems = [*find_problems(kafka, index, audit), *_away("Redis", redis)]
    if kafka.up:
        problems += _away("the dead-letter topic", letters)
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
    )


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


def find_problems(kafka: Answer[Kafka], index: Answer[Index], audit: Answer[Audit] | None) -> list[str]:
    """What is wrong, in sentences."""
    problems = [*_away("Kafka", kafka), *_away("Elasticsearch", index)]
    if audit:
        problems += _away("PostgreSQL", audit)
    if kafka.found:
        problems += _of_topics(kafka.found.topics)
        problems += _of_groups(kafka.found.groups)
    if index.found:
        problems += _of_index(index.found)
    return problems


def _of_topics(topics: list[Topic]) -> Iterator[str]:
    for topic in topics:
        if topic.role == "transactions" and not topic.exists:
            yield f"topic {topic.name} is absent"


def _of_groups(groups: list[Group]) -> Iterator[str]:
    for group in groups:
        if not group.members:
            yield f"group {group.name} has no members: no {group.role} runs"


def _of_index(index: Index) -> Iterator[str]:
    if index.index is None:
        yield f"the alias {index.alias} is absent"
    if index.health == "red":
        yield "the Elasticsearch cluster is red: some shards are not there"
    if index.turned:
        yield f"a reindex stopped in its last step, and searches see no new events: run it again ({index.building})"


def _away(name: str, answer: Answer[T]) -> list[str]:
    return [] if answer.up else [f"{name} is down: {answer.reason}"]


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


async def _nothing() -> None:
    return None
