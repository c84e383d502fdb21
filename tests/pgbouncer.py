"""A PgBouncer of a test's own before the local stack's PostgreSQL."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(database_url: str, folder: Path, **settings: str) -> Iterator[str]:
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
    try:
        _wait(port, process, log)
        yield f"postgresql://{server.username}@127.0.0.1:{port}/{name}"
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"PgBouncer does not start:\n{log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
