"""A short day for the dashboard's picture: two indexers on the local stack, load, and what can go wrong in a day.

`python demo/picture_day.py DATA` runs it (11 minutes) and leaves Prometheus with its data in the folder DATA, at
http://127.0.0.1:29090; Ctrl-C ends that as well. It needs `make stack-up`, and Docker for Prometheus.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from elasticsearch import AsyncElasticsearch
from indexer import Indexer
from picture_gate import Gate

from activity_stack import Stack

IMAGE = "prom/prometheus:v2.42.0"
PROMETHEUS = "127.0.0.1:29090"
PORTS = (28081, 28082)
PARTITIONS = 6
LAST = 60.0
"""How long it goes on after the last step (seconds)."""
SCRAPES = """\
global: {{scrape_interval: 5s, evaluation_interval: 5s}}
scrape_configs:
  - job_name: indexers
    static_configs:
{targets}
"""
TARGET = """\
      - targets: ["127.0.0.1:{port}"]
        labels: {{namespace: demo, pod: activity-indexer-{number}}}
"""


@dataclass
class Day:
    """The names of one run, its indexers, and the gates through which they reach two of the servers."""

    stack: Stack
    elasticsearch: Gate
    redis: Gate
    logs: Path
    ports: tuple[int, ...] = PORTS
    name: str = field(default_factory=lambda: f"transactions-{uuid.uuid4().hex[:4]}")
    indexers: dict[int, Indexer] = field(default_factory=dict)
    loads: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def schema(self) -> str:
        """The database schema of the audit."""
        return self.name.replace("-", "_")

    def settings(self, number: int) -> dict[str, str]:
        """The environment of an indexer."""
        database = self.stack.addresses.postgres
        return {
            **self.stack.environment(),
            "KAFKA_TRANSACTIONS_TOPIC": self.name,
            "KAFKA_CONSUMER_GROUP": self.name,
            "KAFKA_SESSION_TIMEOUT": "10",
            "ELASTICSEARCH_URL": f"http://{self.elasticsearch.address}",
            "ELASTICSEARCH_INDEX": self.name,
            "REDIS_URL": f"redis://{self.redis.address}/0",
            "REDIS_KEY_PREFIX": self.name,
            "REDIS_TIMEOUT": "2",  # this machine has much else to do; only the outage below is to be seen
            "DATABASE_URL": f"{database}{'&' if '?' in database else '?'}search_path={self.schema}",
            "CONSUMER_BATCH_SIZE": "500",
            "CONSUMER_BATCH_TIMEOUT": "0.5",
            "CONSUMER_FRESHNESS_INTERVAL": "2",
            "CONSUMER_HTTP_HOST": "127.0.0.1",
            "CONSUMER_HTTP_PORT": str(self.ports[number]),
            "CONSUMER_LOG_FORMAT": "json",
        }

    async def begin(self, number: int) -> None:
        """Start an indexer; it joins the group."""
        self.indexers[number] = Indexer(self.logs / f"indexer-{number}.log", self.settings(number))
        await self.indexers[number].ready()

    async def end(self, number: int) -> None:
        """End an indexer as Kubernetes does; the others take its partitions."""
        await self.indexers.pop(number).stop()

    async def load(self, rate: int, seconds: int) -> None:
        """Publish for a while, beside what else goes on."""
        options = (
            *("--topic", self.name, "--rate", str(rate), "--duration", str(seconds), "--users", "500"),
            *("--update-ratio", "0.4", "--delete-ratio", "0.05", "--duplicate-ratio", "0.04", "--late-ratio", "0.03"),
            *("--invalid-ratio", "0.004", "--partitions", str(PARTITIONS)),
        )
        with (self.logs / "loadgen.log").open("ab") as log:
            command = (sys.executable, "-m", "activity_loadgen", *options)
            environment = os.environ | self.stack.environment()
            self.loads.append(await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log))

    async def finish(self) -> None:
        """End everything that runs, and remove what was written."""
        for load in self.loads:
            with suppress(ProcessLookupError):
                load.terminate()
        for indexer in self.indexers.values():
            await indexer.stop()
        await _remove(self)


Step = tuple[float, str, Callable[[Day], Coroutine[None, None, None]]]


async def _close(gate: Gate) -> None:
    gate.close()


async def _open(gate: Gate) -> None:
    gate.open()


STEPS: tuple[Step, ...] = (
    (0, "400 events/s, one indexer", lambda day: day.load(400, 640)),
    (90, "a second indexer joins", lambda day: day.begin(1)),
    (170, "1,200 events/s more", lambda day: day.load(1200, 110)),
    (340, "Elasticsearch is away", lambda day: _close(day.elasticsearch)),
    (370, "Elasticsearch is back", lambda day: _open(day.elasticsearch)),
    (440, "Redis is away", lambda day: _close(day.redis)),
    (480, "Redis is back", lambda day: _open(day.redis)),
    (530, "an indexer leaves", lambda day: day.end(1)),
    (580, "and comes back", lambda day: day.begin(1)),
)


async def run(day: Day) -> None:
    """The day, step by step."""
    began = asyncio.get_running_loop().time()
    for at, what, do in STEPS:
        await asyncio.sleep(max(0.0, began + at - asyncio.get_running_loop().time()))
        print(f"{at:4.0f} s  {what}", flush=True)
        await do(day)
    await asyncio.sleep(LAST)


@asynccontextmanager
async def begun(logs: Path, ports: tuple[int, ...] = PORTS) -> AsyncIterator[Day]:
    """A day with a topic, a schema and its first indexer; all of it is gone afterwards."""
    stack = Stack.load()
    async with (
        Gate.to(urlsplit(stack.addresses.elasticsearch)) as search,
        Gate.to(urlsplit(stack.addresses.redis)) as cache,
    ):
        day = Day(stack, search, cache, logs, ports)
        try:
            await _create(day)
            await day.begin(0)
            yield day
        finally:
            await day.finish()


async def _create(day: Day) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=day.stack.addresses.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(day.name, PARTITIONS, 1)])
    await admin.close()
    await _sql(day, f"CREATE SCHEMA {day.schema}")


async def _remove(day: Day) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=day.stack.addresses.kafka)
    await admin.start()
    ours = {day.name, f"{day.name}.dlq", f"{day.name}.dlq.parked"}
    await admin.delete_topics([name for name in await admin.list_topics() if name in ours])
    await admin.close()
    async with AsyncElasticsearch(day.stack.addresses.elasticsearch) as search:
        await search.indices.delete(index=f"{day.name}-000001", ignore_unavailable=True)
    await _sql(day, f"DROP SCHEMA {day.schema} CASCADE")


async def _sql(day: Day, statement: str) -> None:
    connection = await asyncpg.connect(day.stack.addresses.postgres)
    await connection.execute(statement)
    await connection.close()


@contextmanager
def prometheus(data: Path) -> Iterator[None]:
    """Prometheus in a container, on this machine's network; its data stays in the folder."""
    data.mkdir(parents=True, exist_ok=True)
    targets = "".join(TARGET.format(port=port, number=number) for number, port in enumerate(PORTS))
    (data / "prometheus.yml").write_text(SCRAPES.format(targets=targets.rstrip()))
    name = f"picture-prometheus-{uuid.uuid4().hex[:6]}"
    command = (
        *("docker", "run", "--rm", "--detach", "--name", name, "--network", "host"),
        *("--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{data.resolve()}:/prometheus", IMAGE),
        *("--config.file=/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus/data"),
        f"--web.listen-address={PROMETHEUS}",
    )
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - its own words
    try:
        _await_ready()
        yield
    finally:
        subprocess.run(("docker", "stop", name), check=False, stdout=subprocess.DEVNULL)  # noqa: S603, S607 - the same


def _await_ready() -> None:
    for _ in range(100):
        with suppress(OSError), urllib.request.urlopen(f"http://{PROMETHEUS}/-/ready", timeout=2):
            return
        time.sleep(0.2)
    raise SystemExit(f"Prometheus does not get ready at {PROMETHEUS}: is the port taken?")


async def main(data: Path) -> None:
    """The day, and then Prometheus alone until Ctrl-C."""
    with prometheus(data):
        async with begun(data) as day:
            await run(day)
        print(f"Prometheus stays at http://{PROMETHEUS} until Ctrl-C.", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
