"""Indexer processes that start at once: forked from a process that has imported everything already.

An import takes a second or more; what runs afterwards is the command line itself.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "activity_indexer.cli.run",
        "activity_indexer.app",
        "activity_indexer.adapters.redis",
        "activity_indexer.audit.run",
        "processes",
    ]
)


Program = Callable[[Sequence[str]], None]


def _run(program: Program, environment: Mapping[str, str], log: str, arguments: Sequence[str]) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    program(arguments)


def command_line(arguments: Sequence[str]) -> None:
    """The indexer's commands."""
    from activity_indexer.cli import main

    main(list(arguments), prog_name="activity-indexer")


class Forked:
    """The part of subprocess.Popen that tests use."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, arguments: Sequence[str], program: Program = command_line
    ) -> None:
        self._process: Any = _forks.Process(target=_run, args=(program, dict(environment), str(log), list(arguments)))
        self._process.start()
        self.args = list(arguments)
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def started(environment: Mapping[str, str], log: Path, command: Sequence[str] | None) -> Any:
    """`activity-indexer run`, forked, or another command in a process of its own."""
    if command is None:
        log.touch()
        return Forked(environment, log, ["run"])
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *command], env=dict(environment), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
