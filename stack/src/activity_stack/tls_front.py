"""Speaks TLS to clients for a server that was built without it: decrypts, and passes everything on.

Run as `python -m activity_stack.tls_front`; the stack does so where Redis or PostgreSQL lack TLS of their own.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from activity_stack.ports import HOST
from activity_stack.postgres import ENCRYPTION_REQUEST, SSL_REQUEST

PIECE = 65536


@dataclass(frozen=True)
class Front:
    """One listening port and the server behind it."""

    backend: int
    context: ssl.SSLContext
    negotiated: bool
    """Whether clients ask for TLS first, as PostgreSQL's do, rather than begin with it."""

    async def serve(self, port: int) -> None:
        """Accept clients until cancelled."""
        begin_with = None if self.negotiated else self.context
        server = await asyncio.start_server(self.connect, HOST, port, ssl=begin_with)
        async with server:
            await server.serve_forever()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side ends."""
        with suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            if not self.negotiated or await self._negotiate(reader, writer):
                await self._join(reader, writer)
        await _close(writer)

    async def _negotiate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await reader.readexactly(len(SSL_REQUEST))
        if request == ENCRYPTION_REQUEST:
            writer.write(b"N")
            request = await reader.readexactly(len(SSL_REQUEST))
        if request != SSL_REQUEST:
            return False
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(self.context)
        return True

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(HOST, self.backend)
        try:
            ways = [
                asyncio.create_task(_pass_on(reader, behind_writer)),
                asyncio.create_task(_pass_on(behind_reader, writer)),
            ]
            _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in pending:
                way.cancel()
        finally:
            await _close(behind_writer)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while piece := await source.read(PIECE):
            target.write(piece)
            await target.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


@click.command()
@click.option("--listen", type=int, required=True)
@click.option("--backend", type=int, required=True)
@click.option("--certificate", type=click.Path(path_type=Path), required=True)
@click.option("--key", type=click.Path(path_type=Path), required=True)
@click.option("--negotiated", is_flag=True)
def main(listen: int, backend: int, certificate: Path, key: Path, *, negotiated: bool) -> None:
    """Listen with TLS and pass on to the backend's port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    asyncio.run(Front(backend, context, negotiated=negotiated).serve(listen))


if __name__ == "__main__":
    main()
