"""The indexers of a run: processes that are started, ended, frozen, and watched for ending by themselves."""

import json
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place

CLOSING_SECONDS = 2.0
"""Time beyond CONSUMER_SHUTDOWN_TIMEOUT in which the interpreter ends, on a machine that all servers share."""

DEFECTS = ("Traceback (most recent call last)", "audit.crashed", "process.crashed", "never retrieved", "never awaited")
"""Signs of a defect in a log: nothing that a server does may lead to one."""


class Fleet:
    """`running` are the processes that are there now, `ever` all that there were; `problems` say what should not be."""

    def __init__(self, place: Place, folder: Path, variables: Mapping[str, str], command: Sequence[str] | None) -> None:
        self.running: list[Indexer] = []
        self.ever: list[Indexer] = []
        self.problems: list[str] = []
        self.slowest_end = 0.0
        self.largest_bytes = 0
        self._place = place
        self._folder = folder
        self._variables = dict(variables)
        self._command = command

    def start(self) -> Indexer:
        """One more indexer."""
        log = self._folder / f"indexer-{len(self.ever)}.log"
        process = Indexer(self._place, log, self._variables, self._command)
        self.running.append(process)
        self.ever.append(process)
        return process

    def kill(self, process: Indexer) -> None:
        """End it by SIGKILL."""
        self.running.remove(process)
        process.kill()

    def terminate(self, process: Indexer) -> None:
        """End it by SIGTERM; it must end by itself, within its limit, and cleanly."""
        self.running.remove(process)
        limit = float(self._variables["CONSUMER_SHUTDOWN_TIMEOUT"]) + CLOSING_SECONDS
        began = time.monotonic()
        try:
            code = process.terminate(limit)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{process.log.name} did not end within {limit:g} s of SIGTERM")
            process.end()
            return
        self.slowest_end = max(self.slowest_end, time.monotonic() - began)
        if code and (code != -signal.SIGTERM or process.logged("http.listening")):  # else it had not begun
            self.problems.append(f"{process.log.name} ended with {code} after SIGTERM")

    def freeze(self, process: Indexer) -> None:
        """Stop it in the middle of whatever it does."""
        process.process.send_signal(signal.SIGSTOP)

    def thaw(self, process: Indexer) -> None:
        """Let it go on: a zombie, if the group has given it up meanwhile."""
        process.process.send_signal(signal.SIGCONT)

    def look(self) -> None:
        """Take note of memory, and of processes that ended without being asked to; those are replaced."""
        for process in list(self.running):
            self.largest_bytes = max(self.largest_bytes, resident_bytes(process))
            if (code := process.process.poll()) is not None:
                self.problems.append(f"{process.log.name} ended by itself with {code}: {last_line(process)}")
                self.running.remove(process)
                self.start()

    def look_into_logs(self) -> None:
        """Take note of defects that an indexer reported and survived."""
        for process in self.ever:
            for line in process.log.read_text().splitlines():
                if any(sign in line for sign in DEFECTS):
                    self.problems.append(f"{process.log.name}: {line[:2000]}")
                    break

    def settled(self) -> int:
        """Events in batches that any of them settled, repeats counted."""
        return sum(line["events"] for process in self.ever for line in _lines(process, "batch.settled"))

    def end(self) -> None:
        """End all, whatever they do."""
        for process in self.ever:
            process.end()


def resident_bytes(process: Indexer) -> int:
    """Memory of a process now; 0 when it is gone."""
    try:
        status = Path(f"/proc/{process.process.pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)


def last_line(process: Indexer) -> str:
    """The end of a log."""
    return (process.log.read_text().splitlines() or [""])[-1][-300:]


def _lines(process: Indexer, name: str) -> Iterable[dict[str, int]]:
    """Lines of a log with this name; the last one of a killed process may be torn."""
    for line in process.log.read_text().splitlines():
        if name in line:
            with suppress(ValueError):
                yield json.loads(line)
