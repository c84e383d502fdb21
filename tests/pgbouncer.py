"""A PgBouncer of a test's own before the local stack's PostgreSQL."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@asynccontextmanager
async def pgbouncer(database_url: str, folder: Path, **settings: str) -> AsyncIterator[str]:
    """The URL of a PgBouncer in transaction mode; each transaction may get another connection of the server."""
    server = urlsplit(database_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = server.path.lstrip("/")
    config = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "pool_mode": "transaction",
        "default_pool_size": "2",
        "server_round_robin": "1",
        "auth_type": "any",
        **settings,
    }
    lines = [
        "[databases]",
        f"{name} = host={server.hostname} port={server.port} user={server.username} password={server.password}",
        "[pgbouncer]",
        *(f"{key} = {value}" for key, value in config.items()),
    ]
    file, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
    file.write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:  # it refuses to run as root
        for path in (folder, *folder.parents[:2]):
            path.chmod(0o755)
    assert PROGRAM is not None
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM, str(file)], stdout=output, stderr=output, user="nobody" if os.geteuid() == 0 else None
        )
    url = f"postgresql://{server.username}@127.0.0.1:{port}/{name}"
    try:
        await _answering(url, process, log)
        yield url
    finally:
        process.terminate()
        process.wait(10)


async def _answering(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with asyncio.timeout(15):
        while True:
            if process.poll() is not None:
                raise AssertionError(f"PgBouncer ended:\n{log.read_text()}")
            try:
                connection = await asyncpg.connect(url, statement_cache_size=0)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                connection.terminate()
                return
