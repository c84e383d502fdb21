from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.kube.ports import ClusterError
from activity_indexer_operator.runtime.queue import NEVER, Queue

pytestmark = pytest.mark.simulated_time

KIND = "ActivityIndexer"
FIRST, SECOND, BROKEN = Key(KIND, "a", "first"), Key(KIND, "a", "second"), Key(KIND, "a", "broken")
LONG = 3600.0


@asynccontextmanager
async def running(queue: Queue) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Passes:
    """A reconciler that does what a test asks."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.errors: dict[Key, Exception] = {}
        self.next: dict[Key, float | None] = {}
        self.hold: asyncio.Event | None = None
        self.under_way: list[Key] = []
        self.most_at_once = 0
        self.more = asyncio.Event()

    async def __call__(self, key: Key) -> float | None:
        self.keys.append(key)
        self.more.set()
        assert key not in self.under_way, "two passes over one key at once"
        self.under_way.append(key)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        try:
            if self.hold:
                await self.hold.wait()
            if error := self.errors.get(key):
                raise error
        finally:
            self.under_way.remove(key)
        return self.next.get(key)

    async def reach(self, number: int) -> list[Key]:
        async with asyncio.timeout(1.5):
            while len(self.keys) < number:
                self.more.clear()
                await self.more.wait()
        return self.keys


class Heard:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def passed(self, kind: str, outcome: str, seconds: float) -> None:
        self.outcomes.append(f"{kind} {outcome}")


async def test_a_mark_causes_a_pass_and_marks_of_a_waiting_key_are_one() -> None:
    passes = Passes()
    queue = Queue({KIND: passes}, LONG)
    for _ in range(3):
        queue.enqueue(FIRST)
    queue.enqueue(SECOND)
    async with running(queue):
        assert await passes.reach(2) == [FIRST, SECOND]


async def test_a_mark_during_a_pass_causes_one_more_after_it() -> None:
    passes = Passes()
    passes.hold = asyncio.Event()
    queue = Queue({KIND: passes}, LONG)
    async with running(queue):
        queue.enqueue(FIRST)
        await passes.reach(1)
        queue.enqueue(FIRST)
        queue.enqueue(FIRST)
        passes.hold.set()
        assert await passes.reach(2) == [FIRST, FIRST]
        await asyncio.sleep(0.01)
        assert len(passes.keys) == 2


async def test_several_keys_are_worked_on_at_once() -> None:
    passes = Passes()
    passes.hold = asyncio.Event()
    queue = Queue({KIND: passes}, LONG, concurrency=2)
    async with running(queue):
        for key in (FIRST, SECOND, BROKEN):
            queue.enqueue(key)
        await passes.reach(2)
        await asyncio.sleep(0.01)
        assert passes.most_at_once == 2
        passes.hold.set()
        assert await passes.reach(3) == [FIRST, SECOND, BROKEN]


async def test_objects_are_looked_at_again_though_nothing_changed() -> None:
    passes = Passes()
    queue = Queue({KIND: passes}, resync=0.01)
    async with running(queue):
        queue.enqueue(FIRST)
        queue.enqueue(SECOND)
        await passes.reach(6)
    assert {FIRST, SECOND} == set(passes.keys[3:])


async def test_a_pass_says_when_the_next_one_is_due_or_that_there_is_none() -> None:
    passes = Passes()
    passes.next = {FIRST: 0.02, SECOND: NEVER}
    queue = Queue({KIND: passes}, LONG)
    async with running(queue):
        queue.enqueue(FIRST)
        queue.enqueue(SECOND)
        await passes.reach(5)
    assert passes.keys.count(SECOND) == 1


async def test_a_mark_comes_before_the_time_that_a_key_waits_for() -> None:
    passes = Passes()
    queue = Queue({KIND: passes}, LONG)
    async with running(queue):
        queue.enqueue(FIRST, after=LONG)
        queue.enqueue(FIRST)
        await passes.reach(1)
        queue.enqueue(FIRST, after=0.01)
        await passes.reach(2)


async def test_an_object_that_fails_stops_no_other_and_is_tried_again_ever_more_seldom() -> None:
    passes, heard = Passes(), Heard()
    passes.errors = {FIRST: ClusterError("503"), BROKEN: RuntimeError("a defect")}
    queue = Queue({KIND: passes}, LONG, backoff_max=0.02, on_pass=heard.passed)
    async with running(queue):
        for key in (BROKEN, FIRST, SECOND):
            queue.enqueue(key)
        await passes.reach(7)
    assert passes.keys.count(SECOND) == 1
    assert heard.outcomes[:3] == [f"{KIND} crashed", f"{KIND} refused", f"{KIND} done"]


async def test_silence_is_broken_by_the_queue_moving_and_grows_when_it_does_not() -> None:
    passes = Passes()
    passes.hold = asyncio.Event()
    queue = Queue({KIND: passes}, resync=0.01, concurrency=1)
    async with running(queue):
        await asyncio.sleep(0.05)
        assert queue.since_heartbeat < 0.04
        queue.enqueue(FIRST)
        await passes.reach(1)
        await asyncio.sleep(0.06)
        assert queue.since_heartbeat > 0.05


async def test_what_was_under_way_when_the_lease_was_lost_is_done_by_the_next_run() -> None:
    passes = Passes()
    passes.hold = asyncio.Event()
    queue = Queue({KIND: passes}, LONG)
    async with running(queue):
        queue.enqueue(FIRST)
        await passes.reach(1)
    passes.hold.set()
    async with running(queue):
        assert await passes.reach(2) == [FIRST, FIRST]


async def test_what_changed_comes_before_what_is_only_looked_at_again() -> None:
    passes = Passes()
    passes.hold = asyncio.Event()
    queue = Queue({KIND: passes}, LONG, concurrency=1)
    async with running(queue):
        queue.enqueue(Key(KIND, "a", "under way"))
        await passes.reach(1)
        due = [Key(KIND, "a", f"due-{number}") for number in range(20)]
        for key in due:
            queue.enqueue(key, 0.001)
        await asyncio.sleep(0.05)
        queue.enqueue(FIRST)
        queue.enqueue(due[7])
        passes.hold.set()
        keys = await passes.reach(22)
        assert queue.waiting == 0
    assert keys[1:3] == [FIRST, due[7]]
    assert sorted(key.name for key in keys[3:]) == sorted(key.name for key in due if key != due[7])


async def test_a_key_that_became_urgent_while_it_waited_has_one_turn() -> None:
    passes = Passes()
    passes.hold = asyncio.Event()
    queue = Queue({KIND: passes}, LONG, concurrency=1)
    async with running(queue):
        queue.enqueue(SECOND)
        await passes.reach(1)
        queue.enqueue(FIRST, 0.001)
        await asyncio.sleep(0.02)
        queue.enqueue(FIRST)
        passes.hold.set()
        await passes.reach(2)
        await asyncio.sleep(0.05)
    assert passes.keys == [SECOND, FIRST]
    assert queue.waiting == 0
