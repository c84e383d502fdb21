"""Connections to PostgreSQL, also through PgBouncer in transaction mode: nothing of a session is relied on.

No statement is prepared under a name, every statement is in a transaction, and what a transaction needs is set in it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg

from activity_indexer.adapters.postgres.errors import postgres_errors
from activity_indexer.database_url import DatabaseAddress, TcpOptions
from activity_indexer.errors import AuditRejected, Refused
from activity_indexer.settings import DatabaseSettings

IN_TRANSACTIONS: Final = frozenset({"search_path", "role", "statement_timeout", "lock_timeout", "work_mem"})
"""Settings of the server that are set in each transaction: PgBouncer refuses them when a client connects."""


async def connect(settings: DatabaseSettings, name: str, limit: float | None = None) -> Any:
    """A connection of its own; `limit` (seconds) in place of DATABASE_TIMEOUT. Raises Unavailable or Refused."""
    address = settings.address
    with _connecting():
        connection = await asyncpg.connect(address.url, **_arguments(settings, address, name, limit))
    _watch(connection, address.tcp)
    return connection


async def open_pool(settings: DatabaseSettings, name: str) -> Any:
    """A pool that connects when it is used."""
    address = settings.address

    async def initialize(connection: Any) -> None:
        _watch(connection, address.tcp)

    async def keep(_: Any) -> None:
        """Nothing of a session was changed, so that nothing is to be reset."""

    return await asyncpg.create_pool(
        address.url,
        min_size=0,
        max_size=settings.pool_size,
        init=initialize,
        reset=keep,
        **_arguments(settings, address, name, None),
    )


@asynccontextmanager
async def acquired(pool: Any, limit: float) -> AsyncIterator[Any]:
    """A connection of the pool. Raises Unavailable or Refused when there is none."""
    with _connecting():
        connection = await pool.acquire(timeout=limit)
    try:
        yield connection
    finally:
        await pool.release(connection)


@asynccontextmanager
async def transaction(connection: Any, settings: DatabaseSettings) -> AsyncIterator[None]:
    """A transaction in which the settings of DATABASE_URL hold."""
    async with connection.transaction():
        given = settings.address.server_settings
        if local := [
            f"set_config('{name}', {_literal(given[name])}, true)" for name in given if name in IN_TRANSACTIONS
        ]:
            await connection.execute(f"SELECT {', '.join(local)}")
        yield


@contextmanager
def _connecting() -> Iterator[None]:
    """What the server does not take when a client connects is a wrong setting, never a wrong event."""
    try:
        with postgres_errors():
            yield
    except AuditRejected as refusal:
        raise Refused(f"{refusal}; correct the parameters of DATABASE_URL") from None


def _arguments(settings: DatabaseSettings, address: DatabaseAddress, name: str, limit: float | None) -> dict[str, Any]:
    timeout = limit or settings.timeout
    given = address.server_settings
    arguments: dict[str, Any] = {
        "timeout": min(timeout, address.connect_timeout or timeout),
        "command_timeout": timeout,
        "statement_cache_size": 0,
        "server_settings": {
            "application_name": name,
            **{each: given[each] for each in given if each not in IN_TRANSACTIONS},
        },
    }
    if address.system_authorities:
        arguments["ssl"] = ssl.create_default_context()
    return arguments


def _watch(connection: Any, tcp: TcpOptions) -> None:
    """The options of the connection's socket; one that the system lacks is left out, as libpq does."""
    transport = getattr(connection, "_transport", None)
    found: socket.socket | None = transport.get_extra_info("socket") if transport else None
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(tcp.keepalives))
    wanted = {"TCP_KEEPIDLE": tcp.idle, "TCP_KEEPINTVL": tcp.interval, "TCP_KEEPCNT": tcp.count}
    if tcp.user_timeout is not None:
        wanted["TCP_USER_TIMEOUT"] = int(tcp.user_timeout * 1000)
    for option, value in wanted.items():
        if value is not None and hasattr(socket, option):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _literal(text: str) -> str:
    """A text in a statement: PostgreSQL reads it so whatever standard_conforming_strings is."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
