"""Who holds a port: asked of the kernel before a server is started on it."""

from __future__ import annotations

import socket
from pathlib import Path

from activity_stack.errors import PortInUse

HOST = "127.0.0.1"
_LISTEN = "0A"


def require_free(port: int, server: str, setting: str) -> None:
    """Raise PortInUse, naming the port and the process that holds it, unless `port` can be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            msg = (
                f"{server} needs {HOST}:{port}, but {describe_holder(port)} ({error.strerror}). "
                f"End that process, or choose another port with {setting}."
            )
            raise PortInUse(msg) from None


def describe_holder(port: int) -> str:
    """The process that listens on a port, in words."""
    pid = holder(port)
    if pid is None:
        return "a process that cannot be seen from here listens on it"
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return f"pid {pid} listens on it: {command[:120]}"


def holder(port: int) -> int | None:
    """The pid that listens on a port of this machine; None if there is none or the process is not ours to see."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listeners(table, port)}
    if not inodes:
        return None
    for folder in Path("/proc").glob("[0-9]*/fd"):
        if _holds(folder, inodes):
            return int(folder.parent.name)
    return None


def _listeners(table: str, port: int) -> list[str]:
    try:
        lines = Path("/proc/net", table).read_text().splitlines()[1:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rsplit(":", 1)[1], 16) == port]


def _holds(folder: Path, inodes: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in inodes for link in folder.iterdir())
    except OSError:
        return False
