"""Calls a server until it answers, and says once when it is unavailable and once when it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import structlog

from activity_indexer.backoff import Backoff
from activity_indexer.errors import ActivityIndexerError, Refused, Unavailable
from activity_indexer.facts import Severity
from activity_indexer.reports import Dependency, DependencyChanged, Emit

Condition = Literal["unknown", "up", "unavailable", "refused"]
T = TypeVar("T")


class Stopped(Exception):
    """The program ends while a server is unavailable."""


@dataclass(frozen=True, slots=True)
class State:
    """How a server is doing; `reason` says what is wrong and what to do.

    `since` is on the monotonic clock (seconds).
    """

    condition: Condition
    reason: str
    since: float


class Patience:
    """One server's calls, repeated with backoff for as long as it is unavailable or refuses."""

    def __init__(self, dependency: Dependency, backoff: Backoff, stopping: asyncio.Event, emit: Emit) -> None:
        self._dependency = dependency
        self._backoff = backoff
        self._stopping = stopping
        self._emit = emit
        self._log = structlog.get_logger()
        self.state = State("unknown", "", time.monotonic())

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that passes. Raises Stopped when the program ends meanwhile."""
        tries = 0
        while True:
            try:
                result = await attempt()
            except Unavailable as error:
                self._down("unavailable", str(error))
            except Refused as error:
                self._down("refused", str(error))
            except ActivityIndexerError:
                self._up()  # it answers, though not as hoped
                raise
            else:
                self._up()
                return result
            await self._wait(self._backoff.delay(tries))
            tries += 1

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        if self._stopping.is_set():
            raise Stopped

    def _down(self, condition: Condition, reason: str) -> None:
        changed = self.state.condition != condition
        self.state = State(condition, reason, time.monotonic() if changed else self.state.since)
        if changed:
            self._emit(DependencyChanged(self._dependency, reason, Severity.WARNS))
            log = self._log.error if condition == "refused" else self._log.warning
            log("audit.paused", dependency=self._dependency, condition=condition, reason=reason)

    def _up(self) -> None:
        if self.state.condition == "up":
            return
        before = self.state
        self.state = State("up", "", time.monotonic())
        self._emit(DependencyChanged(self._dependency, None, Severity.WARNS))
        if before.condition != "unknown":
            unavailable = round(self.state.since - before.since, 1)
            self._log.info("audit.resumed", dependency=self._dependency, seconds_unavailable=unavailable)
