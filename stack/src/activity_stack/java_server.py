"""What Kafka and Elasticsearch have in common: Java, jars in a shared folder, a class archive beside them."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path

from activity_stack import jars
from activity_stack.java import Java, Training, find_java
from activity_stack.server import Server
from activity_stack.settings import SOURCES
from activity_stack.state import exclusive


class JavaServer(Server):
    """A server from published jars."""

    @property
    @abstractmethod
    def home(self) -> Path:
        """Where it is laid out, for all instances; another folder whenever anything in it changes."""

    @abstractmethod
    def build(self, home: Path) -> None:
        """Lay it out in an empty folder."""

    @abstractmethod
    def heap_options(self) -> list[str]:
        """Memory and garbage collector; a class archive is made and used with the same ones."""

    @cached_property
    def java(self) -> Java:
        """The Java that it runs on."""
        return find_java(use_system=self.instance.settings.use_system)

    def class_path(self) -> str:
        """The jars in a fixed order: a class archive is valid for one order only."""
        return ":".join(sorted(map(str, (self.home / "lib").glob("*.jar"))))

    def install(self) -> None:
        """Lay it out unless that is done: whole, or not at all."""
        settings = self.instance.settings
        with exclusive(settings.dist / f"{self.name}.lock", settings.limits.lock_timeout):
            if not self.home.exists():
                fresh = self.home.with_name(f"{self.home.name}.new")
                jars.discard(fresh)
                self.build(fresh)
                fresh.rename(self.home)

    def training(self) -> Training:
        """The class archive beside the jars, one for each Java."""
        kept = self.home.with_name(f"{self.home.name}.{self.java.key}.classes")
        return Training(kept, self.instance.config(self.name) / "classes.recorded")

    def assemble_command(self) -> tuple[str, ...]:
        """Java itself makes the archive."""
        options = [*self.heap_options(), "-cp", self.class_path()]
        return self.java.assemble_command(self.training(), options)

    def run_options(self) -> list[str]:
        """Options of every run: memory, the class archive, the class path."""
        return [*self.heap_options(), *self.java.archive_options(self.training()), "-cp", self.class_path()]


def lock(name: str) -> jars.Lock:
    """A lock of the repository."""
    return jars.read_lock(SOURCES / "jars" / f"{name}.lock")
