"""How long it takes until a search finds a document."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from activity_indexer.errors import Refused, Unavailable
from activity_indexer.freshness import Freshness
from activity_indexer.reports import BatchSettled, SearchProbed, Written

pytestmark = pytest.mark.simulated_time

BATCH = BatchSettled(1, 100, example=Written("a", version=8, published=0.0))


@dataclass
class Index:
    """Answers with these versions or errors, one after the other."""

    answers: list[int | Exception | None]
    asked: int = 0

    async def searchable(self, identifier: str) -> int | None:
        assert identifier == "a"
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Results:
    seconds: list[float] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    def __call__(self, reported: Any) -> None:
        assert isinstance(reported, SearchProbed)
        self.outcomes.append(reported.outcome)
        if reported.seconds is not None:
            self.seconds.append(reported.seconds)


async def followed(answers: Sequence[int | Exception | None], patience: float = 5.0) -> tuple[Results, Index]:
    results, index = Results(), Index(list(answers))
    freshness = Freshness(index, results, 10.0, patience=patience)
    freshness.follow(BATCH)
    assert freshness._task is not None
    await freshness._task
    return results, index


async def test_a_document_is_fresh_when_a_search_finds_its_version_or_a_newer_one() -> None:
    results, index = await followed([None, 7, 8])
    assert results.outcomes == ["seen"]
    assert len(results.seconds) == 1
    assert index.asked == 3
    assert (await followed([9]))[0].outcomes == ["seen"]


async def test_freshness_is_the_time_from_publishing_to_the_search_that_found_it() -> None:
    results, now = Results(), 1_000.0
    freshness = Freshness(Index([8]), results, 10.0, now=lambda: now)
    freshness.follow(BatchSettled(1, 100, example=Written("a", version=8, published=988.0)))
    assert freshness._task is not None
    await freshness._task
    assert results.seconds == [12.0]


async def test_a_document_that_no_search_finds_in_time_is_missed_and_has_no_time() -> None:
    results, _ = await followed([], patience=0.01)
    assert (results.outcomes, results.seconds) == (["missed"], [])


async def test_a_search_that_fails_says_nothing_of_freshness() -> None:
    results, _ = await followed([Unavailable("away")])
    assert (results.outcomes, results.seconds) == (["failed"], [])


async def test_one_document_is_followed_at_a_time_and_one_in_an_interval() -> None:
    now = 100.0
    results, index = Results(), Index([8, 8])
    freshness = Freshness(index, results, 10.0, now=lambda: now)
    freshness.follow(BATCH)
    freshness.follow(BATCH)
    await asyncio.sleep(0.01)
    freshness.follow(BATCH)
    await asyncio.sleep(0.01)
    assert results.outcomes == ["seen"]
    now = 110.0
    freshness.follow(BATCH)
    await asyncio.sleep(0.01)
    assert results.outcomes == ["seen", "seen"]


async def test_who_may_not_search_does_not_ask_again() -> None:
    results, index = Results(), Index([Refused("403")])
    freshness = Freshness(index, results, 1e-9)
    for _ in range(3):
        freshness.follow(BATCH)
        await asyncio.sleep(0.01)
    assert (results.outcomes, index.asked) == (["failed"], 1)


async def test_an_interval_of_zero_follows_nothing() -> None:
    results, index = Results(), Index([8])
    Freshness(index, results, 0.0).follow(BATCH)
    await asyncio.sleep(0)
    assert index.asked == 0
