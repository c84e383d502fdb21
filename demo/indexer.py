"""The demonstration's indexer: a process of its own, run as users run it, and what its metrics say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

START_TIMEOUT = 60.0
"""Time for the indexer to become ready (seconds)."""

STOP_TIMEOUT = 30.0
"""Time for the indexer to finish and leave (seconds)."""

_SERIES = re.compile(r"^activity_indexer_(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class IndexerFailed(Exception):
    """The indexer ended or does not become ready; the message says where its log is."""


class Metrics:
    """One scrape of the indexer's metrics."""

    def __init__(self, text: str = "") -> None:
        self._values = [
            (name, dict(_LABEL.findall(labels)), float(value)) for name, labels, value in _SERIES.findall(text)
        ]

    def total(self, metric: str, **labels: str) -> float:
        """Sum of a metric's series that carry these labels."""
        return sum(value for name, found, value in self._values if name == metric and labels.items() <= found.items())


class Indexer:
    """`activity-indexer run` with the given settings; its log goes to a file."""

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "activity_indexer", "run"],
                env={**os.environ, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._port = 0

    async def ready(self) -> None:
        """Wait until it takes events. Raises IndexerFailed."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise IndexerFailed(f"the indexer ended with {self._process.returncode}; see {self.log}")
            self._port = self._port or self._logged_port()
            if self._port and await self._get("/readyz"):
                return
            await asyncio.sleep(0.05)
        raise IndexerFailed(f"the indexer was not ready in {START_TIMEOUT:g} s; see {self.log}")

    def _logged_port(self) -> int:
        for line in self.log.read_text().splitlines():
            if line.startswith("{") and (said := json.loads(line))["event"] == "http.listening":
                return int(said["port"])
        return 0

    async def metrics(self) -> Metrics:
        """What its metrics say now."""
        return Metrics(await self._get("/metrics"))

    async def _get(self, path: str) -> str:
        def ask() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                    return str(answer.read().decode())
            except urllib.error.URLError:
                return ""

        return await asyncio.to_thread(ask)

    async def stop(self) -> float:
        """End it as Kubernetes does; returns how long it took (seconds)."""
        started = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return time.monotonic() - started
