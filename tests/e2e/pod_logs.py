"""The logs of all pods of a namespace, kept while they run: those of a pod that is gone cannot be asked for."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.commands import CommandFailedError
from e2e.kind import Cluster

POLL_SECONDS = 2.0
BAD_LEVELS = {"error", "critical"}


@dataclass(frozen=True)
class Allowed:
    """An error that a story causes, and why it is none of the program's."""

    pattern: str
    reason: str


ALWAYS = (
    Allowed(
        "Request attempt .* will retry",
        "kopf calls each request an error that it makes again, such as for a CRD that is a second old (429)",
    ),
)
"""What may come in any story."""


@dataclass(frozen=True)
class Line:
    """A line of a pod's log; `entry` is empty where it is no JSON object."""

    pod: str
    text: str
    entry: dict[str, Any]

    @property
    def bad(self) -> bool:
        """Whether it reports an error."""
        return self.entry.get("level") in BAD_LEVELS or (not self.entry and "Traceback (most recent" in self.text)


@dataclass
class PodLogs:
    """Follows the containers that start in a namespace, each into a file of `folder`."""

    cluster: Cluster
    folder: Path
    _followed: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to follow."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends all that follows."""
        self._over.set()
        if self._thread:
            self._thread.join()
        for process in (process for processes in self._followed.values() for process in processes):
            process.terminate()
            process.wait()

    def lines(self, pods: str = "") -> list[Line]:
        """All lines of the pods whose name matches, in no order between pods."""
        return [line for line in self._read() if re.search(pods, line.pod)]

    def unexpected(self, allowed: tuple[Allowed, ...] = ()) -> list[Line]:
        """Lines that report unexpected errors."""
        return [
            line
            for line in self._read()
            if line.bad and not any(re.search(each.pattern, line.text) for each in (*ALWAYS, *allowed))
        ]

    def _watch(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            # While the API server is unavailable nothing new can be learned.
            with contextlib.suppress(CommandFailedError, subprocess.TimeoutExpired, ValueError):
                for pod in self.cluster.get("pods")["items"]:
                    self._follow(pod)

    def _follow(self, pod: dict[str, Any]) -> None:
        for status in pod["status"].get("containerStatuses", ()):
            if "waiting" in status["state"]:
                continue
            key = f"{pod['metadata']['name']}.{status['name']}.{status['restartCount']}"
            attached = self._followed.setdefault(key, [])
            # What follows may break off while the container runs: then it begins again, from the first line.
            if not attached or (attached[-1].poll() is not None and "running" in status["state"]):
                self._attach(key, pod["metadata"]["name"], status["name"])

    def _attach(self, key: str, pod: str, container: str) -> None:
        number = len(self._followed[key])
        with (self.folder / f"{key}.{number}.log").open("wb") as file:
            command = [*self.cluster.command, "logs", "--follow", pod, "--container", container]
            self._followed[key].append(subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL))

    def _read(self) -> Iterator[Line]:
        for key, attempts in list(self._followed.items()):
            files = [self.folder / f"{key}.{number}.log" for number in range(len(attempts))]
            best = max(files, key=lambda file: file.stat().st_size)
            for text in best.read_text(errors="replace").splitlines():
                yield Line(key.split(".")[0], text, _entry(text))


def _entry(text: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
