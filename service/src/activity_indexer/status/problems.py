"""What is wrong, in sentences: from what the servers and the indexers themselves answered. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from activity_indexer.facts import Severity
from activity_indexer.status.report import Answer, Audit, Group, Index, Indexer, Kafka, Topic

NAMED: Final = 3
"""Indexers that are named for one fact."""
STABLE: Final = "Stable"
"""State of a group that is not being rebalanced, in Kafka's word."""
STANDS: Final = 60.0
"""Seconds that an event waits at least before its partition counts as standing."""
T = TypeVar("T", bound=msgspec.Struct)


def find_problems(kafka: Answer[Kafka], index: Answer[Index], audit: Answer[Audit] | None) -> list[str]:
    """What is wrong, in sentences."""
    problems = [*missing("Kafka", kafka), *missing("Elasticsearch", index)]
    if audit:
        problems += missing("PostgreSQL", audit)
    if kafka.found:
        problems += _of_topics(kafka.found.topics)
        problems += _of_groups(kafka.found.groups)
    if index.found:
        problems += _of_index(index.found)
    return problems


def _of_topics(topics: list[Topic]) -> Iterator[str]:
    for topic in topics:
        if topic.role != "transactions":
            continue
        if not topic.exists:
            yield f"topic {topic.name} does not exist"
        if topic.behind_transaction:
            yield (
                f"an open transaction of a producer hides {sum(topic.behind_transaction.values()):,} records of topic "
                f"{topic.name} ({_partitions(topic.behind_transaction)}): they are read when it ends"
            )


def _of_groups(groups: list[Group]) -> Iterator[str]:
    for group in groups:
        if not group.members:
            yield f"group {group.name} has no members: no {group.role} runs"
        elif group.state != STABLE:
            yield f"group {group.name} is being rebalanced ({group.state}): nothing of it moves"
        elif silent := sorted({member.host for member in group.members if not member.address}):
            yield (
                f"group {group.name}: members on {', '.join(silent)} state no address and cannot be asked how they are "
                "(another version?)"
            )
        if group.lost:
            yield (
                f"group {group.name} lost {sum(group.lost.values()):,} records ({_partitions(group.lost)}): they were "
                "removed from the topic before they were read"
            )


def _partitions(numbers: Iterable[str]) -> str:
    return "partition " + ", ".join(sorted(numbers, key=int))


def _of_index(index: Index) -> Iterator[str]:
    if index.index is None:
        yield f"the alias {index.alias} does not exist"
    if index.health == "red":
        yield "the Elasticsearch cluster is red: some shards are not there"
    if index.turned:
        yield f"a reindex stopped in its last step, and searches see no new events: run it again ({index.building})"


def problems_of_indexers(indexers: Sequence[Indexer]) -> list[str]:
    """What the indexers report, a sentence for each fact, and which of them cannot be asked."""
    problems = [
        f"the indexer at {each.address} does not answer: {each.answer.reason}"
        for each in indexers
        if not each.answer.up
    ]
    facts: dict[str, list[tuple[str, float]]] = {}
    for each in indexers:
        for fact in each.answer.found.facts if each.answer.found else []:
            facts.setdefault(fact.text, []).append(
                (each.answer.found.instance if each.answer.found else "", fact.since)
            )
    for text, reported in facts.items():
        names = ", ".join(name for name, _ in reported[:NAMED])
        more = f" and {len(reported) - NAMED} more" if len(reported) > NAMED else ""
        since = datetime.fromtimestamp(min(since for _, since in reported), UTC)
        problems.append(f"{names}{more}: {text} (since {since:%Y-%m-%dT%H:%M:%SZ})")
    return problems


def problems_of_lag(groups: Sequence[Group], indexers: Sequence[Indexer]) -> list[str]:
    """Partitions with events that no member takes, or that make no progress though no indexer reports a reason."""
    found = [each.answer.found for each in indexers if each.answer.found]
    explained = any(fact.severity is not Severity.WARNS for each in found for fact in each.facts)
    ages: dict[int, float] = {}
    for number, known in (pair for each in found for pair in each.partitions.items()):
        ages[int(number)] = max(ages.get(int(number), 0.0), known.lag_seconds or 0.0)
    problems = []
    for group in groups:
        taken = {number for member in group.members for number in member.partitions}
        free = [number for number in group.standing if number not in taken]
        if free and group.members and group.state == STABLE:
            problems.append(f"group {group.name}: {_partitions(map(str, free))} belongs to no member, and events wait")
        problems += [
            f"group {group.name}: partition {each} makes no progress, its oldest event waits for {ages[each]:.0f} s"
            for each in group.standing
            if group.role == "indexer" and not explained and ages.get(each, 0.0) >= STANDS
        ]
    return problems


def missing(name: str, answer: Answer[T]) -> list[str]:
    """That a server did not answer, and why."""
    return [] if answer.up else [f"{name} is down: {answer.reason}"]
