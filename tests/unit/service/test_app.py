"""Start and end of the process, without servers."""

import asyncio

import pytest

from activity_indexer.app import AUDIT, App, _finish, _names
from activity_indexer.ending import Deadline, Ending
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.settings import load_settings

pytestmark = pytest.mark.simulated_time


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setenv("CONSUMER_BACKOFF_INITIAL", "0.0001")
    monkeypatch.setenv("CONSUMER_BACKOFF_MAX", "0.0002")
    return App(load_settings())


async def for_ever() -> None:
    await asyncio.sleep(60)


async def test_a_server_that_comes_up_late_is_waited_for(app: App) -> None:
    answers = iter([Unavailable("away"), Refused("no rights yet"), Unavailable("away")])

    async def attempt() -> None:
        if error := next(answers, None):
            raise error

    assert await app._until("elasticsearch", attempt)


async def test_the_end_ends_the_wait_for_a_server(app: App) -> None:
    async def attempt() -> None:
        raise Unavailable("away")

    waiting = asyncio.create_task(app._until("kafka", attempt))
    await asyncio.sleep(0.005)
    app.stop()
    async with asyncio.timeout(1):
        assert not await waiting


async def test_the_end_does_not_wait_for_an_attempt_that_does_not_let_go(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_ending", Ending(0.05))
    lets_go = asyncio.Event()

    async def attempt() -> None:
        try:
            await for_ever()
        finally:
            await lets_go.wait()

    waiting = asyncio.create_task(app._until("kafka", attempt))
    await asyncio.sleep(0.005)
    app.stop()
    async with asyncio.timeout(1):
        assert not await waiting
    lets_go.set()


async def test_a_defect_while_a_server_is_asked_is_raised(app: App) -> None:
    async def attempt() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await app._until("kafka", attempt)


async def test_what_runs_in_the_background_is_ended_in_time() -> None:
    tasks = [asyncio.create_task(for_ever()) for _ in range(2)]
    async with asyncio.timeout(1):
        await _finish(tasks, Deadline.after(0.005))
    assert all(task.cancelled() for task in tasks)


async def test_a_defect_in_the_background_does_not_pass_for_a_clean_end() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _finish([asyncio.create_task(for_ever()), asyncio.create_task(fail(), name=AUDIT)], Deadline.after(0.01))


async def test_what_only_watches_is_not_waited_for() -> None:
    watches = [asyncio.create_task(for_ever()) for _ in range(3)]
    async with asyncio.timeout(5):
        await _finish(watches, Deadline.after(600))
    assert all(task.cancelled() for task in watches)


def test_names_are_separated_by_commas() -> None:
    assert _names(" card, crypto ,,") == ["card", "crypto"]
    assert _names("") == []
