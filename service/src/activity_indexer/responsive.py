"""An event loop that many share: how long one may compute, and time-outs that count only while the loop runs.

A time-out by the clock says that a server failed when it was this process that had no time to read the answer.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

SLICE: Final = 0.005
"""For how long anything computes before the event loop has a turn (seconds)."""

STEPS: Final = 20
"""Parts of a time-out: one is over when the loop comes to its timer, however late that is."""


class ResponsiveTimeout:
    """As asyncio.timeout, but a loop that is held for a while takes one step of the time at most.

    So an answer that came meanwhile is read before the time is up, with some turns of the loop to spare.
    """

    def __init__(self, seconds: float) -> None:
        self._step = seconds / STEPS
        self._left = STEPS
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._step, self._pass)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)  # raises TimeoutError in place of its own cancellation

    def _pass(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._step, self._pass)
        else:
            self._timeout.reschedule(self._loop.time())
