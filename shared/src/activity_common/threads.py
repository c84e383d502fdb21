"""Waits for what blocks, in a thread that the end of the program does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def in_thread(name: str, work: Callable[[], T]) -> T:
    """The result of `work`; who is cancelled leaves the thread to itself."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            notify = partial(_succeed, ended, work())
        except Exception as error:  # noqa: BLE001 - raised by who waits
            notify = partial(_fail, ended, error)
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(notify)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await ended


def _succeed(ended: asyncio.Future[T], result: T) -> None:
    if not ended.done():
        ended.set_result(result)


def _fail(ended: asyncio.Future[T], error: Exception) -> None:
    if not ended.done():
        ended.set_exception(error)
