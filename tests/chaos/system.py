"""Everything that a fault can reach."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from aiokafka.errors import KafkaError
from chaos.clock import Clock
from chaos.fleet import Fleet
from chaos.proxy import Proxy
from elastic_transport import TransportError
from elasticsearch import ApiError
from fixtures.servers.place import Place

from activity_stack import Stack

PATIENCE = 90.0
"""How long something is tried that a server's absence may hinder (seconds)."""

T = TypeVar("T")


@dataclass
class System:
    """The servers, the indexers and the proxies between; `notes` say what was done to them, and when."""

    stack: Stack
    place: Place
    fleet: Fleet
    proxy: Proxy
    clock: Clock
    began: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)
    touching: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """A healing may take its time: the next fault that touches the same thing waits for it."""

    def note(self, text: str) -> None:
        """Keep what happened, with the seconds since the start."""
        self.notes.append(f"{time.monotonic() - self.began:6.2f} s {text}")

    async def server(self, action: str, name: str) -> None:
        """Do something to a server of the stack: start, stop, kill, pause or resume."""
        await asyncio.to_thread(getattr(self.stack, action), name)


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until it passes: another fault may be in the way."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            async with asyncio.timeout(10):
                return await attempt()
        except (KafkaError, OSError, TimeoutError, ApiError, TransportError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.3)
