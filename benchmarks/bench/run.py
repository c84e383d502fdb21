"""One run of a case: start the candidate, watch the sink and the process, end it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka.errors import KafkaError

from bench import calibration, meter
from bench.candidates import ROOT, Candidate, candidate
from bench.plan import Case
from bench.servers import Published, Servers
from bench.sink import RESET, STATS

POLL: Final = 0.025
POLL_ELASTICSEARCH: Final = 0.2
REST: Final = 2.0
"""Seconds without a document after which a run that has begun is over."""

SENT_AGAIN: Final = 0.02
"""Share of documents that may come twice: more, and it is not the work of one event that was measured."""

START_LIMIT: Final = 60.0
STOP_LIMIT: Final = 20.0
LOOP_LAG: Final = "activity_indexer_event_loop_lag_seconds"


class Counts(msgspec.Struct, frozen=True):
    """What a sink has taken."""

    documents: int = 0
    requests: int = 0
    bytes: int = 0
    most_under_way: int = 0


class Sample(msgspec.Struct, frozen=True):
    """A process after this many documents, since its first one."""

    documents: int
    cpu_seconds: float
    seconds: float
    mib: float


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one run showed. `calibration` is the median CPU time of a turn of the calibration loop during it (µs)."""

    part: str
    name: str
    candidate: str
    round: int
    x: float | None = None
    failure: str = ""
    microseconds: float = 0.0
    system_microseconds: float = 0.0
    events_per_second: float = 0.0
    events: int = 0
    peak_mib: float = 0.0
    first_document_seconds: float = 0.0
    documents_per_request: float = 0.0
    most_under_way: int = 0
    calibration: float = 0.0
    loop_lag_mean_ms: float | None = None
    loop_lag_most_ms: float | None = None
    load_average: float = 0.0
    samples: tuple[Sample, ...] = ()


@dataclass(slots=True)
class Reading:
    """The sink and the process at one moment."""

    at: float
    counts: Counts
    usage: meter.Usage
    mib: float
    peak_mib: float


@dataclass(slots=True)
class Watched:
    """What was seen of one run."""

    case: Case
    documents: int
    started: float
    first: Reading | None = None
    warm: Reading | None = None
    last: Reading | None = None
    calibrations: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def saw(self, reading: Reading) -> None:
        """A reading in which documents had moved, or the first one."""
        if not reading.counts.documents:
            return
        self.first = self.first or reading
        if self.warm is None and reading.counts.documents >= self.case.warm:
            self.warm = reading
        self.last = reading
        if not self.samples or reading.counts.documents >= self.samples[-1].documents * 1.5:
            self._sample(reading)

    def _sample(self, reading: Reading) -> None:
        assert self.first is not None  # noqa: S101 - documents were seen
        used = reading.usage - self.first.usage
        self.samples.append(
            Sample(reading.counts.documents, used.total, reading.at - self.first.at, round(reading.mib, 1))
        )

    def is_over(self, now: float) -> bool:
        """Whether there is nothing more to wait for."""
        if self.first is None:
            return now - self.started > START_LIMIT
        assert self.last is not None  # noqa: S101 - set with the first
        begun = self.warm or self.first
        return (
            self.last.counts.documents >= self.documents
            or now - self.last.at > REST
            or now - begun.at > self.case.limit * (1 if self.warm else 2)
        )


class Sink:
    """The blackhole, a process of its own."""

    def __init__(self, servers: Servers, record: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "bench.sink", str(self.port), servers.elasticsearch]
        command += [str(record)] if record else []
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
        )
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        deadline = time.monotonic() + START_LIMIT
        while True:
            try:
                self.reset()
            except OSError:
                self._connection.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    raise
                time.sleep(0.05)
            else:
                return

    def _ask(self, path: str) -> Counts:
        self._connection.request("GET", path)
        return msgspec.json.decode(self._connection.getresponse().read(), type=Counts)

    def reset(self) -> None:
        """Count from zero."""
        self._ask(RESET)

    def counts(self) -> Counts:
        """Since the last reset."""
        return self._ask(STATS)

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.terminate()
        self._process.wait(STOP_LIMIT)


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def indexed(servers: Servers, index: str) -> Counts:
    """What Elasticsearch was asked to write to an index, refused or not."""
    found = servers.ask("GET", f"/{index}/_stats/indexing?filter_path=_all.primaries.indexing")
    if not found:
        return Counts()
    counts = found["_all"]["primaries"]["indexing"]
    return Counts(counts["index_total"] + counts.get("index_failed", 0))


class Runner:
    """Runs cases one after another."""

    def __init__(self, servers: Servers, logs: Path, earlier: Path | None = None) -> None:
        self._earlier = earlier
        self._servers = servers
        self._logs = logs
        self._record = logs / "record"
        self._record.unlink(missing_ok=True)  # of a run that was killed
        self._sink = Sink(servers)
        self._number = 0

    def close(self) -> None:
        """End what it has started."""
        self._sink.close()
        self._record.unlink(missing_ok=True)

    def run(self, case: Case, round_number: int) -> Run:
        """One run; what went wrong is part of the result."""
        subject = candidate(case.candidate, self._record, self._earlier)
        shown: dict[str, Any] = {
            "part": case.part,
            "name": case.name,
            "candidate": case.candidate,
            "round": round_number,
            "x": case.x,
        }
        if subject.missing:
            return Run(**shown, failure=subject.missing)
        try:
            return Run(**shown, **self._measured(case, subject))
        except (RuntimeError, OSError, KafkaError) as error:  # the other cases can be measured all the same
            return Run(**shown, failure=f"{type(error).__name__}: {error}")

    def _measured(self, case: Case, subject: Candidate) -> dict[str, Any]:
        published = self._servers.published(case.load)
        needs_index = case.sink == "elasticsearch" and not subject.is_indexer
        if needs_index and not self._record.exists():
            self._record_bodies(case)
        self._number += 1
        name = f"{self._servers.name}-run{self._number}"
        alias = name if case.sink == "elasticsearch" else f"{self._servers.name}-blackhole"
        if needs_index:
            self._servers.create_like(f"{self._servers.name}-blackhole*", alias)
        port = free_port()
        environment = self._environment(case, subject, published, name, alias, port)
        try:
            with self._process(subject, environment) as process:
                watched = self._watch(case, published, process, alias)
                lag = loop_lag(port) if subject.is_indexer else (None, None)
        finally:
            if case.sink == "elasticsearch":
                self._servers.remove_indices(alias)
        return measured(watched, published, lag, process.returncode)

    def _record_bodies(self, case: Case) -> None:
        """Have the indexer's bulk bodies of a load for the limit to send, and its index for others to copy."""
        usual, self._sink = self._sink, Sink(self._servers, self._record)
        try:
            done = self.run(Case("", "recording", "indexer-1000", case.load, warm=1, limit=60.0), 0)
        finally:
            self._sink.close()
            self._sink = usual
        if done.failure:
            raise RuntimeError(f"no bulk bodies could be recorded: {done.failure}")

    def _environment(
        self, case: Case, subject: Candidate, published: Published, name: str, alias: str, port: int
    ) -> dict[str, str]:
        url = self._sink.url if case.sink == "blackhole" else self._servers.elasticsearch
        return {
            **self._servers.environment,
            "ELASTICSEARCH_URL": url,
            "TOPIC": published.topic,
            "GROUP": name,
            "INDEX": alias,
            "KAFKA_TRANSACTIONS_TOPIC": published.topic,
            "KAFKA_CONSUMER_GROUP": name,
            "ELASTICSEARCH_INDEX": alias,
            "REDIS_KEY_PREFIX": name,
            "CONSUMER_HTTP_PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._sink.url,
            **subject.environment,
            **dict(case.environment),
        }

    @contextmanager
    def _process(self, subject: Candidate, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        with (self._logs / f"{subject.name}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - the candidates
                subject.command, stdout=log, stderr=log, env=environment, cwd=self._logs
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _watch(self, case: Case, published: Published, process: subprocess.Popen[bytes], alias: str) -> Watched:
        counts: Callable[[], Counts]
        if case.sink == "blackhole":
            self._sink.reset()
            counts, poll = self._sink.counts, POLL
        else:
            counts, poll = (lambda: indexed(self._servers, alias)), POLL_ELASTICSEARCH
        watched = Watched(case, published.documents, time.monotonic())
        seen = Counts()
        while process.poll() is None and not watched.is_over(time.monotonic()):
            found = counts()
            if found.documents != seen.documents:
                with suppress(ValueError, OSError):  # it has just ended
                    now, peak = meter.memory(process.pid)
                    watched.saw(Reading(time.monotonic(), found, meter.usage(process.pid), now, peak))
                seen = found
            time.sleep(poll)
            if watched.warm is not None:
                watched.calibrations.append(calibration.reading())
        return watched


def measured(
    watched: Watched, published: Published, lag: tuple[float | None, float | None], code: int | None
) -> dict[str, Any]:
    """The figures of a run. Events that make no document (copies, invalid ones) count by their share of the topic."""
    load = round(os.getloadavg()[0], 1)
    begun, last = watched.warm or watched.first, watched.last
    if begun is None or last is None or last.counts.documents == begun.counts.documents or not watched.calibrations:
        seen = last.counts.documents if last else 0
        return {
            "failure": f"{seen} documents of {published.documents} came; exit code {code}, see its log",
            "load_average": load,
        }
    if last.counts.documents > published.documents * (1 + SENT_AGAIN):
        return {"failure": f"{last.counts.documents} documents came of {published.documents}", "load_average": load}
    events = (last.counts.documents - begun.counts.documents) * published.events / published.documents
    used = last.usage - begun.usage
    assert watched.first is not None  # noqa: S101 - documents came
    return {
        "microseconds": round(used.total / events * 1e6, 2),
        "system_microseconds": round(used.system / events * 1e6, 2),
        "events_per_second": round(events / (last.at - begun.at)),
        "events": round(events),
        "peak_mib": round(last.peak_mib, 1),
        "first_document_seconds": round(watched.first.at - watched.started, 2),
        "documents_per_request": round(last.counts.documents / last.counts.requests, 1) if last.counts.requests else 0,
        "most_under_way": last.counts.most_under_way,
        "calibration": round(statistics.median(watched.calibrations), 3),
        "loop_lag_mean_ms": lag[0],
        "loop_lag_most_ms": lag[1],
        "load_average": load,
        "samples": tuple(watched.samples) if watched.case.part == "growth-events" else (),
    }


def loop_lag(port: int) -> tuple[float | None, float | None]:
    """Milliseconds by which the indexer's event loop came late: on average, and the bound of its latest bucket."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            return parse_loop_lag(reply.read().decode())
    except OSError:
        return None, None


def parse_loop_lag(metrics: str) -> tuple[float | None, float | None]:
    """From the text of /metrics; infinity when it was later than all bounds."""
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(LOOP_LAG) and " " in line)
    count = float(values.get(f"{LOOP_LAG}_count", 0))
    if not count:
        return None, None
    mean = float(values[f"{LOOP_LAG}_sum"]) / count * 1000
    for name, value in values.items():
        if name.startswith(f"{LOOP_LAG}_bucket") and float(value) >= count:
            return round(mean, 2), round(float(name.split('le="')[1].split('"')[0]) * 1000, 1)
    return round(mean, 2), None
