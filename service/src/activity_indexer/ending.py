"""The end of the process: one budget of time, which all of its steps share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

FOR_COMMIT = 0.15
"""Share of the budget that is kept for the last commit: what is done is committed, however much is not."""

FOR_CLOSING = 0.1
"""Share of the budget that is kept for leaving groups and closing connections."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment `at` by which everything has ended, on the monotonic `clock`; `budget` is the time for it (seconds).

    A step takes what it needs of what is left, but for the share that is kept for the steps after it.
    """

    at: float
    budget: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """This many seconds from now."""
        return cls(clock() + seconds, seconds, clock)

    def left(self, keeping: float = 0.0) -> float:
        """Seconds that are left when this share of the budget is kept for later steps; never below 0."""
        return max(0.0, self.at - keeping * self.budget - self.clock())

    @property
    def to_finish(self) -> float:
        """Seconds left to finish what is under way."""
        return self.left(FOR_COMMIT + FOR_CLOSING)

    @property
    def to_commit(self) -> float:
        """Seconds left to commit what is done."""
        return self.left(FOR_CLOSING)


class Ending:
    """Informs all parts when the end begins, and by when it has to be over: `budget` seconds later."""

    def __init__(self, budget: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._clock = clock
        self._begun = asyncio.Event()
        self._deadline: Deadline | None = None

    @property
    def begun(self) -> bool:
        """Whether the end has begun."""
        return self._begun.is_set()

    @property
    def deadline(self) -> Deadline:
        """By when everything is over; before the end begins, as if it began now."""
        return self._deadline or Deadline.after(self._budget, self._clock)

    def begin(self) -> None:
        """The end begins now, if it has not begun before."""
        self._deadline = self.deadline
        self._begun.set()

    async def wait(self) -> None:
        """Until the end begins."""
        await self._begun.wait()


async def close_all(closers: Mapping[str, Callable[[], Awaitable[None]]], deadline: Deadline) -> None:
    """Close all of them at once: one that fails, or is not answered in time, delays neither the others nor the end."""
    tasks = {name: asyncio.ensure_future(close()) for name, close in closers.items()}
    if tasks:
        await asyncio.wait(tasks.values(), timeout=deadline.left())
    log = structlog.get_logger("activity_indexer.ending")
    for name, task in tasks.items():
        if task.cancel():
            log.warning("close.given_up", server=name)
        elif not task.cancelled() and (error := task.exception()):
            log.warning("close.failed", server=name, error=f"{type(error).__name__}: {error}")
