from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from activity_indexer_operator.api import Key
from activity_indexer_operator.ports import ClusterError
from activity_indexer_operator.worker import Worker

FIRST, SECOND = Key("a", "first"), Key("a", "second")
NEVER = 3600.0


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Passes:
    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.errors: dict[Key, Exception] = {}
        self.more = asyncio.Event()

    async def __call__(self, key: Key) -> None:
        self.keys.append(key)
        self.more.set()
        if error := self.errors.get(key):
            raise error

    async def reach(self, number: int) -> list[Key]:
        async with asyncio.timeout(1):
            while len(self.keys) < number:
                self.more.clear()
                await self.more.wait()
        return self.keys


async def test_a_new_generation_is_due_and_a_changed_status_is_not() -> None:
    passes = Passes()
    worker = Worker(passes, NEVER)
    async with running(worker):
        worker.seen(FIRST, 1)
        await passes.reach(1)
        worker.seen(FIRST, 1)
        worker.seen(SECOND, 1)
        await passes.reach(2)
        worker.seen(FIRST, 2)
        assert await passes.reach(3) == [FIRST, SECOND, FIRST]


async def test_all_objects_are_looked_at_now_and_then_until_they_are_gone() -> None:
    passes = Passes()
    worker = Worker(passes, resync=0.01)
    async with running(worker):
        worker.seen(FIRST, 1)
        worker.seen(SECOND, 1)
        await passes.reach(4)
        worker.gone(FIRST)
        passes.keys.clear()
        assert set((await passes.reach(3))[1:]) == {SECOND}


async def test_an_object_that_fails_stops_no_other() -> None:
    passes = Passes()
    passes.errors = {FIRST: ClusterError("403"), Key("a", "broken"): RuntimeError("a defect")}
    worker = Worker(passes, NEVER)
    async with running(worker):
        worker.seen(Key("a", "broken"), 1)
        worker.seen(FIRST, 1)
        worker.seen(SECOND, 1)
        assert await passes.reach(3) == [Key("a", "broken"), FIRST, SECOND]
