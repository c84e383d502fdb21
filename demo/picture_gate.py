"""A TCP port that leads to a server while it is open: an outage that nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import SplitResult


class Gate:
    """Passes bytes on while it is open; closed, it breaks connections and takes no new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._behind = (host, port)
        self._is_open = True
        self._under_way: set[asyncio.StreamWriter] = set()
        self.address = ""

    @classmethod
    @asynccontextmanager
    async def to(cls, url: SplitResult) -> AsyncIterator[Gate]:
        """An open gate to the server of an address, at a free port of loopback."""
        gate = cls(str(url.hostname), int(url.port or 0))
        server = await asyncio.start_server(gate._pass, "127.0.0.1", 0)
        gate.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield gate
        finally:
            gate.close()
            server.close()

    def open(self) -> None:
        """Let everything through from now on."""
        self._is_open = True

    def close(self) -> None:
        """Break what goes through."""
        self._is_open = False
        for writer in self._under_way:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        behind_reader, behind_writer = await asyncio.open_connection(*self._behind)
        both = {writer, behind_writer}
        self._under_way |= both
        try:
            await asyncio.gather(_copy(reader, behind_writer), _copy(behind_reader, writer))
        finally:
            self._under_way -= both
            for one in both:
                one.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.write_eof()
