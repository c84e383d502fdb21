"""How many bulk requests are under way at once."""

import asyncio
import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.concurrency import AdaptiveLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def limit(maximum: int = 8, target: float = 1.0) -> tuple[AdaptiveLimit, Clock]:
    clock = Clock()
    return AdaptiveLimit(maximum, target, clock), clock


async def one_round(subject: AdaptiveLimit, clock: Clock, seconds: float = 0.1, *, pushed_back: bool = False) -> None:
    clock.now += 0.001
    started = [await subject.acquire() for _ in range(subject.limit)]
    clock.now += seconds
    for each in started:
        subject.release(each, pushed_back=pushed_back)


async def test_a_round_of_quick_requests_adds_one() -> None:
    subject, clock = limit()
    found = []
    for _ in range(20):
        found.append(subject.limit)
        await one_round(subject, clock)
    assert found[0] == 2
    assert all(later - earlier in (0, 1) for earlier, later in itertools.pairwise(found))
    assert found[-1] == 8


async def test_push_back_halves_once_for_a_round() -> None:
    subject, clock = limit()
    for _ in range(20):
        await one_round(subject, clock)
    await one_round(subject, clock, pushed_back=True)
    assert subject.limit == 4
    await one_round(subject, clock, pushed_back=True)
    assert subject.limit == 2


async def test_latency_above_the_target_counts_as_push_back() -> None:
    subject, clock = limit(target=1.0)
    await one_round(subject, clock, seconds=1.1)
    assert subject.limit == 1


async def test_one_request_may_always_be_under_way() -> None:
    subject, clock = limit()
    for _ in range(10):
        await one_round(subject, clock, pushed_back=True)
    assert subject.limit == 1


async def test_a_maximum_of_one_is_one() -> None:
    subject, clock = limit(maximum=1)
    for _ in range(5):
        await one_round(subject, clock)
    assert subject.limit == 1


async def test_waiters_get_places_in_their_order() -> None:
    subject, _ = limit(maximum=1)
    started = await subject.acquire()
    order: list[int] = []

    async def wait(number: int) -> None:
        place = await subject.acquire()
        order.append(number)
        await asyncio.sleep(0)
        subject.release(place, pushed_back=False)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    subject.release(started, pushed_back=False)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert subject.in_flight == 0


async def test_a_waiter_that_is_cancelled_leaves_the_line() -> None:
    subject, _ = limit(maximum=1)
    started = await subject.acquire()
    waiting = asyncio.create_task(subject.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    subject.release(started, pushed_back=False)
    async with asyncio.timeout(1):
        await subject.acquire()
    assert subject.in_flight == 1


async def test_a_place_given_to_one_who_is_cancelled_goes_to_the_next() -> None:
    subject, _ = limit(maximum=1)
    started = await subject.acquire()
    first, second = asyncio.create_task(subject.acquire()), asyncio.create_task(subject.acquire())
    await asyncio.sleep(0)
    subject.release(started, pushed_back=False)
    first.cancel()
    async with asyncio.timeout(1):
        await second
    assert first.cancelled()
    assert subject.in_flight == 1


@settings(max_examples=50, deadline=None)
@given(st.builds(random.Random, st.integers(0, 2**32)), st.integers(1, 5))
async def test_no_schedule_of_cancellations_leaks_a_place(chance: random.Random, maximum: int) -> None:
    subject, clock = limit(maximum)
    most = 0

    async def work() -> None:
        nonlocal most
        started = await subject.acquire()
        most = max(most, subject.in_flight)
        try:
            await asyncio.sleep(0)
            clock.now += chance.random()
        finally:
            subject.release(started, pushed_back=chance.random() < 0.3)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(40):
        tasks.append(asyncio.create_task(work()))
        if chance.random() < 0.4:
            chance.choice(tasks).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks, return_exceptions=True)
        assert subject.in_flight == 0
        await subject.acquire()
    assert most <= maximum
