"""What the audit costs beside the indexer, and whether it keeps up: `PYTHONPATH=benchmarks python benchmarks/audit.py`.

Runs with and without the audit, in turn, on a topic of its own with a backlog; Elasticsearch is a blackhole, PostgreSQL
is the local stack's. Costs are CPU time of the whole process; the audit's is what a run with it takes more, for each
event that it wrote. Both parts are counted from the moment when each has handled a tenth of the topic.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from activity_stack import Stack
from bench import meter
from bench.candidates import candidate
from bench.plan import Load
from bench.run import Sink, free_port
from bench.servers import Servers, log_folder

POLL: Final = 0.05
STARTS: Final = 8.0
"""Seconds for which an indexer has time to start before events are published at a rate."""

REST: Final = 1.5
"""Seconds without a document after which all are sent."""

LIMIT: Final = 180.0
"""Seconds after which a run has failed."""

WRITTEN: Final = "SELECT sum(next_offset - first_offset)::bigint FROM audit_offsets"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a process is: documents sent, events in the audit, and the CPU seconds that it took."""

    at: float
    documents: int
    audited: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Run:
    """From the first reading that counts to the last; `indexed` is when the last document was sent."""

    first: Reading
    indexed: Reading
    last: Reading
    events: int

    @property
    def indexing(self) -> float:
        """Events that the indexer handled meanwhile: some documents are never sent, as a newer one came with them."""
        return (1 - self.first.documents / self.indexed.documents) * self.events

    @property
    def audited(self) -> int:
        """Events that the audit wrote meanwhile."""
        return self.last.audited - self.first.audited

    @property
    def cpu(self) -> float:
        """CPU seconds meanwhile."""
        return self.last.cpu - self.first.cpu


class Bench:
    """Starts an indexer at a time, and watches it."""

    def __init__(self, servers: Servers, database: str, load: Load, earlier: Path | None) -> None:
        self._servers = servers
        self._database = database
        self._load = load
        self._backlog = None if "--rate" in load.options else servers.published(load).topic
        self._earlier = earlier
        self._sink = Sink(servers)
        self._number = 0

    def close(self) -> None:
        """End the sink."""
        self._sink.close()

    async def run(self, name: str, *, audit: bool) -> Run:
        """One run until all is sent and written. Raises RuntimeError when it takes too long."""
        self._number += 1
        group = f"{self._servers.name}-run{self._number}"
        topic = self._backlog or f"{group}-live"
        if not self._backlog:
            await self._servers.create(topic, self._load.partitions)
        url = await self._empty_schema(group) if audit else self._database
        program = candidate(name, Path(), self._earlier)
        environment = {
            **self._servers.environment,
            **program.environment,
            "CONSUMER_ENABLE_AUDIT_DB": str(audit).lower(),
            "DATABASE_URL": url,
            "ELASTICSEARCH_URL": self._sink.url,
            "ELASTICSEARCH_INDEX": f"{self._servers.name}-blackhole",
            "KAFKA_TRANSACTIONS_TOPIC": topic,
            "KAFKA_CONSUMER_GROUP": group,
            "REDIS_KEY_PREFIX": group,
            "CONSUMER_HTTP_PORT": str(free_port()),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._sink.url,
        }
        self._sink.reset()
        with (log_folder() / "audit.log").open("wb") as log:
            process = subprocess.Popen(program.command, stdout=log, stderr=log, env=environment)  # noqa: ASYNC220, S603
            try:
                watching = asyncio.create_task(self._watch(process, url if audit else ""))
                if not self._backlog:
                    await asyncio.sleep(STARTS)
                    await asyncio.to_thread(self._servers.publish, topic, self._load)
                return await watching
            finally:
                process.terminate()
                process.wait(20)
                if audit:
                    await self._drop(group)

    async def _empty_schema(self, name: str) -> str:
        connection = await asyncpg.connect(self._database)
        try:
            await connection.execute(f'CREATE SCHEMA "{name}"')
        finally:
            await connection.close()
        return f"{self._database}?search_path={name}"

    async def _drop(self, name: str) -> None:
        connection = await asyncpg.connect(self._database)
        try:
            await connection.execute(f'DROP SCHEMA "{name}" CASCADE')
        finally:
            await connection.close()

    async def _watch(self, process: subprocess.Popen[bytes], url: str) -> Run:
        connection = await asyncpg.connect(url) if url else None
        wanted, started = self._load.count, time.monotonic()
        first = moved = done = None
        try:
            while time.monotonic() - started < LIMIT and process.poll() is None:
                audited = await self._audited(connection) if connection else 0
                documents = self._sink.counts().documents
                now = Reading(time.monotonic(), documents, audited, meter.usage(process.pid).total)
                least = min(documents, audited) if connection else documents
                if first is None and least >= wanted / 10:
                    first = now
                if moved is None or documents > moved.documents:
                    moved = now
                if done is None and (audited >= wanted or not connection):
                    done = now
                if first and done and now.at - moved.at > REST:
                    return Run(first, moved, max(moved, done, key=lambda each: each.at), wanted)
                await asyncio.sleep(POLL)
        finally:
            if connection:
                await connection.close()
        raise RuntimeError(f"not done after {LIMIT:g} s, or it ended: see {log_folder() / 'audit.log'}")

    @staticmethod
    async def _audited(connection: asyncpg.Connection[asyncpg.Record]) -> int:
        try:
            return await connection.fetchval(WRITTEN) or 0
        except asyncpg.UndefinedTableError:
            return 0


def shown(name: str, runs: Mapping[bool, list[Run]]) -> str:
    """The medians of a program's runs."""
    alone = statistics.median(run.cpu / run.indexing for run in runs[False]) * 1e6
    costs = [(run.cpu * 1e6 - run.indexing * alone) / run.audited for run in runs[True]]
    rates = [run.audited / (run.last.at - run.first.at) for run in runs[True]]
    behind = [(run.last.at - run.indexed.at) / (run.last.at - run.first.at) for run in runs[True]]
    spread = ", ".join(f"{cost:.1f}" for cost in sorted(costs))
    return (
        f"{name:10} indexer {alone:5.1f} µs, audit {statistics.median(costs):5.1f} µs an event ({spread}), "
        f"{statistics.median(costs) / alone:.2f} of the indexer's; "
        f"{statistics.median(rates):,.0f} events/s in both; "
        f"behind the indexer at its end for {statistics.median(behind):.0%} of the time"
    )


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument(
        "--rate", type=float, default=0, help="publish this many events a second; else there is a backlog"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit to measure beside this one")
    chosen = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[1])
    stack = Stack.load()
    servers = Servers(stack, f"bench-audit-{uuid.uuid4().hex[:8]}")
    names = ["indexer", *(["before"] if chosen.before else [])]
    runs: dict[str, dict[bool, list[Run]]] = {name: {False: [], True: []} for name in names}
    try:
        options = ("--update-ratio", "0", *(("--rate", str(chosen.rate)) if chosen.rate else ()))
        load = Load(chosen.events, chosen.partitions, options)
        bench = Bench(servers, stack.environment()["DATABASE_URL"], load, chosen.before)
        try:
            for _ in range(chosen.rounds):
                for name in names:
                    for audit in (False, True):
                        runs[name][audit].append(asyncio.run(bench.run(name, audit=audit)))
        finally:
            bench.close()
    finally:
        servers.close()
    for name in names:
        print(shown(name, runs[name]))


if __name__ == "__main__":
    main()
