"""The end's one budget of time."""

import asyncio

import pytest
from fixtures.clock import Clock
from structlog.testing import capture_logs

from activity_indexer.ending import Deadline, Ending, close_all

pytestmark = pytest.mark.simulated_time


async def for_ever() -> None:
    await asyncio.sleep(60)


async def at_once() -> None:
    pass


def test_what_is_left_falls_with_time_and_is_never_negative() -> None:
    clock = Clock(100)
    deadline = Deadline.after(20, clock)
    assert deadline.left() == 20
    clock.now = 105
    assert deadline.left() == 15
    clock.now = 121
    assert deadline.left() == deadline.to_finish == deadline.to_commit == 0


def test_whatever_an_earlier_step_takes_there_is_time_for_the_later_ones() -> None:
    clock = Clock()
    deadline = Deadline.after(20, clock)
    clock.now += deadline.to_finish
    assert deadline.to_finish == 0
    assert deadline.to_commit == pytest.approx(3)
    clock.now += deadline.to_commit
    assert deadline.to_commit == 0
    assert deadline.left() == pytest.approx(2)


def test_what_an_earlier_step_does_not_take_is_there_for_the_later_ones() -> None:
    clock = Clock()
    deadline = Deadline.after(20, clock)
    clock.now += 1
    assert deadline.to_commit == pytest.approx(17)
    assert deadline.left() == pytest.approx(19)


async def test_the_end_counts_from_its_first_beginning() -> None:
    clock = Clock()
    ending = Ending(20, clock)
    clock.now = 50
    assert not ending.begun
    assert ending.deadline.at == 70, "as if it began now"
    waiting = asyncio.create_task(ending.wait())
    ending.begin()
    clock.now = 60
    ending.begin()
    await waiting
    assert ending.begun
    assert ending.deadline.at == 70


async def test_all_are_closed_at_once_and_none_holds_up_the_others() -> None:
    said: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.01)
        said.append("slow")

    async def fail() -> None:
        raise ConnectionError("gone")

    closers = {"silent": for_ever, "slow": slow, "failing": fail, "good": at_once}
    with capture_logs() as logs:
        async with asyncio.timeout(1):
            await close_all(closers, Deadline.after(0.05))
    assert said == ["slow"]
    assert [(line["event"], line["server"]) for line in logs] == [
        ("close.given_up", "silent"),
        ("close.failed", "failing"),
    ]


async def test_when_all_have_parted_the_rest_of_the_time_is_not_waited_for() -> None:
    async with asyncio.timeout(1):
        await close_all({"good": at_once}, Deadline.after(60))
        await close_all({}, Deadline.after(60))


async def test_with_no_time_left_nothing_is_waited_for() -> None:
    async with asyncio.timeout(1):
        await close_all({"silent": for_ever}, Deadline.after(0))
