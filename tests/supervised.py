"""A program for tests: a supervisor whose processes do what an environment variable says, instead of indexing.

Files in the directory NOTES show what the processes did; BEHAVIOUR is that of the process with the number 2.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from activity_indexer.cli import supervisor
from activity_indexer.errors import Refused
from activity_indexer.settings import Settings, load_settings
from activity_indexer.telemetry.logging import configure_logging


def note(what: str, settings: Settings) -> None:
    (Path(os.environ["NOTES"]) / f"{what}-{settings.consumer.http_port}-{os.getpid()}").touch()


def run(settings: Settings) -> None:
    """Wait for SIGTERM, as an indexer does, or fail in the requested way."""
    behaviour = os.environ["BEHAVIOUR"] if settings.consumer.http_port % 10 == 1 else ""
    if behaviour == "refuse":
        raise Refused("the port is taken")
    if behaviour == "crash":
        raise RuntimeError("a defect")
    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = behaviour != "stay"

    signal.signal(signal.SIGTERM, end)
    note("started", settings)
    while not ended:
        time.sleep(0.01)
    if behaviour == "fail":
        raise RuntimeError("it could not commit")
    note("drained", settings)


class Parent(supervisor.Supervisor):
    """A supervisor that meets what BEHAVIOUR says."""

    def _start(self, number: int) -> None:
        behaviour = os.environ["BEHAVIOUR"]
        if behaviour == "signal at start" and number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        if behaviour == "no memory":
            os.environ["BEHAVIOUR"] = ""
            fork, os.fork = os.fork, no_memory
            super()._start(number)
            os.fork = fork
            return
        super()._start(number)

    def _note_end(self, number: int, pid: int, code: int) -> None:
        if os.environ["BEHAVIOUR"] == "defect at end" and self._stopping is None:
            raise RuntimeError("a defect")
        super()._note_end(number, pid, code)


def no_memory() -> int:
    raise OSError("no memory")


def program(_arguments: Sequence[str]) -> None:
    """The parent, with short delays."""
    supervisor.REPLACEMENT_DELAY = 0.05  # type: ignore[misc]
    supervisor.KILL_AFTER = 0.0  # type: ignore[misc]
    configure_logging("info", "json")
    sys.exit(0 if Parent(load_settings(), 2, run).run() else 1)
