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


def program(_arguments: Sequence[str]) -> None:
    """The parent, with short delays."""
    supervisor.REPLACEMENT_DELAY = 0.05  # type: ignore[misc]
    supervisor.KILL_AFTER = 0.0  # type: ignore[misc]
    configure_logging("info", "json")
    sys.exit(0 if supervisor.Supervisor(load_settings(), 2, run).run() else 1)
