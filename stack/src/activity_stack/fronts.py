"""TLS for a Redis or PostgreSQL that was built without it."""

from __future__ import annotations

import socket
import ssl
import sys
from abc import abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from activity_stack.ports import HOST
from activity_stack.postgres import SSL_REQUEST, Postgres
from activity_stack.processes import Launch
from activity_stack.redis import Redis
from activity_stack.server import PROBE_TIMEOUT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "tls front"


class TlsFront(Server):
    """A process of ours that listens with TLS and passes on to the server."""

    options: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def backend(self) -> int:
        """The port of the server behind it."""

    def prepare(self) -> str:
        """Nothing is needed but the certificates, which are there."""
        return VERSION

    def launch(self) -> Launch:
        """This Python with the front's module."""
        files = self.instance.certificates()
        (listen,) = self.listens_on().values()
        command = [sys.executable, "-m", "activity_stack.tls_front", "--listen", str(listen), *self.options]
        command += ["--backend", str(self.backend()), "--certificate", str(files.server), "--key", str(files.key)]
        return Launch(tuple(command))

    @contextmanager
    def connection(self, opening: bytes = b"") -> Iterator[ssl.SSLSocket]:
        """A checked TLS connection to it, after asking for one with `opening` if clients have to."""
        (port,) = self.listens_on().values()
        context = ssl.create_default_context(cafile=str(self.instance.certificates().authority))
        with socket.create_connection((HOST, port), PROBE_TIMEOUT) as plain:
            if opening:
                plain.sendall(opening)
                plain.recv(1)
            with context.wrap_socket(plain, server_hostname=HOST) as secured:
                yield secured


class RedisTls(TlsFront):
    """TLS for Redis."""

    name = "redis-tls"

    def listens_on(self) -> dict[str, int]:
        """The port that Redis would have used itself."""
        return {"redis_tls": self.ports.redis_tls}

    def backend(self) -> int:
        """Redis."""
        return self.ports.redis

    def address(self) -> str:
        """The URL that clients take."""
        return Redis(self.instance).tls_address()

    def ready(self) -> bool:
        """Whether Redis answers through it."""
        with self.connection() as connection:
            return Redis.answers(connection)


class PostgresTls(TlsFront):
    """TLS for PostgreSQL."""

    name = "postgres-tls"
    options = ("--negotiated",)

    def listens_on(self) -> dict[str, int]:
        """A port of its own: PostgreSQL has plain text and TLS on one."""
        return {"postgres_tls": self.ports.postgres_tls}

    def backend(self) -> int:
        """PostgreSQL."""
        return self.ports.postgres

    def address(self) -> str:
        """The DSN that clients take, less what they check the certificate with."""
        return Postgres(self.instance).tls_address().split("?")[0]

    def ready(self) -> bool:
        """Whether PostgreSQL answers through it."""
        with self.connection(SSL_REQUEST) as connection:
            return Postgres.answers(connection)
