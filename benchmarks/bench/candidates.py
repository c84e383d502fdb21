"""The programs that are measured: how each is started, or why it cannot be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PEERS: Final = ROOT / "benchmarks" / "peers"
PEERS_PYTHON: Final = PEERS / ".venv" / "bin" / "python"
FRANZ: Final = ROOT / ".build" / "bench" / "franz"
BATCH: Final = "1000"
"""What the peers send at once."""

TITLES: Final = {
    "indexer": "indexer, default settings",
    "indexer-1000": "indexer, batches of 1,000",
    "before": "before, default settings",
    "before-1000": "before, batches of 1,000",
    "naive": "aiokafka + async_bulk",
    "tuned": "getmany + orjson + async_bulk",
    "faststream": "FastStream",
    "quix": "Quix Streams",
    "prototype": "Python lower bound",
    "franz": "Go, franz-go",
    "limit": "ready bulk bodies only",
}
SCRIPTS: Final = {
    "naive": "naive.py",
    "tuned": "tuned.py",
    "faststream": "with_faststream.py",
    "quix": "with_quix.py",
    "prototype": "prototype.py",
    "limit": "limit.py",
}
ALL_ON: Final = {
    "CONSUMER_ENABLE_AUDIT_DB": "false",  # a consumer of its own, with a cost of its own
    "CONSUMER_HTTP_HOST": "127.0.0.1",
    "CONSUMER_FRESHNESS_INTERVAL": "0",  # a blackhole finds nothing
    "OTEL_METRICS_EXPORTER": "none",  # /metrics is always served
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.01",
}
"""The indexer with all of its work: deduplication in memory and Redis, enrichment, dead letters, metrics, traces."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program; `missing` says why it cannot be started here."""

    name: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def is_indexer(self) -> bool:
        """Whether it is what this repository makes."""
        return self.name.startswith(("indexer", "before"))


def candidate(name: str, record: Path, earlier: Path | None = None) -> Candidate:
    """By its name; `record` holds the bulk bodies that the limit sends, `earlier` is a checkout of another commit."""
    if name.startswith(("indexer", "before")):
        size = {"CONSUMER_BATCH_SIZE": BATCH} if name.endswith("-1000") else {}
        source = earlier if earlier and name.startswith("before") else ROOT
        path = {"PYTHONPATH": str(source / "service" / "src")}
        missing = "no earlier checkout is named: --before FOLDER" if name.startswith("before") and not earlier else ""
        return Candidate(name, (sys.executable, "-m", "activity_indexer", "run"), {**ALL_ON, **size, **path}, missing)
    if name == "franz":
        return Candidate(name, (str(FRANZ),), {"BATCH": BATCH}, missing=_franz())
    arguments = (str(record),) if name == "limit" else ()
    missing = "" if PEERS_PYTHON.exists() else f"no environment at {PEERS_PYTHON.parent.parent}: `make bench` makes it"
    return Candidate(name, (str(PEERS_PYTHON), str(PEERS / SCRIPTS[name]), *arguments), {"BATCH": BATCH}, missing)


def _franz() -> str:
    """Build it when that has not been done; why it is not there otherwise."""
    source = PEERS / "franz"
    if FRANZ.exists() and FRANZ.stat().st_mtime >= max(path.stat().st_mtime for path in source.iterdir()):
        return ""
    go = shutil.which("go")
    if go is None:
        return "Go is not installed"
    FRANZ.parent.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(  # noqa: S603 - our own source
        [go, "build", "-o", str(FRANZ), "."], cwd=source, capture_output=True, text=True, check=False
    )
    return "" if built.returncode == 0 else f"it cannot be built: {built.stderr.strip()[-300:]}"
