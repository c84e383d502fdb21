"""What every server of the stack has in common."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from activity_stack.certs import Certificates
from activity_stack.jars import discard
from activity_stack.processes import Launch

if TYPE_CHECKING:
    from pathlib import Path

    from activity_stack.jars import Jar
    from activity_stack.java import Training
    from activity_stack.settings import Settings

PROBE_TIMEOUT = 2.0
"""Seconds that one look at a server's readiness may take."""


@dataclass(frozen=True)
class Instance:
    """The folders of one instance of the stack, and what its servers share."""

    settings: Settings

    def data(self, name: str) -> Path:
        """A server's data folder."""
        return self.settings.home / "data" / name

    def config(self, name: str) -> Path:
        """A server's configuration folder, which is written again at each start."""
        folder = self.settings.home / "config" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        """A server's log."""
        return self.settings.home / "log" / f"{name}.log"

    def certificates(self) -> Certificates:
        """The instance's certificates, which are made before a server is prepared."""
        return Certificates(self.settings.home / "certs")


class Server(ABC):
    """One server: how it is laid out, started, looked at and ended."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, instance: Instance) -> None:
        """Belong to an instance of the stack."""
        self.instance = instance
        self.ports = instance.settings.ports

    @abstractmethod
    def listens_on(self) -> dict[str, int]:
        """Its ports by the name they have in the settings."""

    @abstractmethod
    def address(self) -> str:
        """Where clients reach it."""

    def missing_jars(self) -> list[Jar]:
        """The published jars it needs and is not yet laid out from."""
        return []

    def clear_leftovers(self) -> None:
        """Wait for what a killed run of it may have left behind. Raises StackError if that does not go away."""
        return

    @abstractmethod
    def prepare(self) -> str:
        """Have everything it needs to be started; its version."""

    @abstractmethod
    def launch(self) -> Launch:
        """The command that starts it, once it is prepared."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves clients now. May raise OSError while it does not."""

    def training(self) -> Training | None:
        """The class archive that it starts from, or that this run of it is the training for; None if it has none."""
        return None

    def assemble_command(self) -> tuple[str, ...]:
        """The command that makes the class archive after the training, if one is needed."""
        return ()

    def discard_data(self) -> None:
        """Forget everything."""
        discard(self.instance.data(self.name))


def can_tls(program: Path) -> bool:
    """Whether a program can TLS: one that cannot names none of OpenSSL's functions."""
    return b"SSL_CTX_new" in program.read_bytes()
