"""The local stack, and what is made on it for a benchmark: all of it is removed at the end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from activity_stack import Stack
from bench.plan import Load

START: Final = "2023-11-14T22:13:20Z"
OPTIONS: Final = ("--users", "5000", "--user-skew", "0.5", "--seed", "7", "--start-time", START, "--json")
SMALL: Final = (
    '{"event_type":"transaction.created","timestamp":"2023-11-14T22:13:20.%06dZ","transaction":{"id":"t%07d",'
    '"user_id":"u%d","transaction_type":"card","status":"done","currency":"EUR","amount":1.5,'
    '"created_at":"2023-11-14T22:13:20Z"}}'
)
SERVERS: Final = ("kafka", "elasticsearch", "redis")
SMALL_USERS: Final = 5_000
DOCUMENT_SETTINGS: Final = ("analysis", "number_of_shards", "number_of_replicas", "refresh_interval")
"""Of an index that is made like the indexer's."""


@dataclass(frozen=True, slots=True)
class Published:
    """A topic, and what is in it."""

    topic: str
    events: int
    documents: int
    bytes: int
    cpu_microseconds: float
    events_per_second: float


class Servers:
    """Names begin with `name`, which is this run's alone."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.name = name
        self.environment = {**os.environ, **stack.environment()}
        self.kafka = stack.addresses.kafka
        self.elasticsearch = stack.addresses.elasticsearch
        self._redis = redis.Redis.from_url(stack.addresses.redis)
        self._topics: dict[Load, Published] = {}

    def published(self, load: Load) -> Published:
        """The topic of this load, published when it is asked for first."""
        if load not in self._topics:
            topic = f"{self.name}-{len(self._topics)}"
            asyncio.run(self.create(topic, load.partitions))
            self._topics[load] = self._publish_small(topic, load) if load.small else self.publish(topic, load)
        return self._topics[load]

    async def create(self, topic: str, partitions: int) -> None:
        """The broker compresses it again, if need be: all publishers' batches are read as the same codec."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={"compression.type": "lz4"})])
        finally:
            await admin.close()

    @property
    def all_published(self) -> list[Published]:
        """By `activity-loadgen`, so far."""
        return [published for load, published in self._topics.items() if not load.small]

    def publish(self, topic: str, load: Load) -> Published:
        """Publish a load to a topic that is there."""
        command = [sys.executable, "-m", "activity_loadgen", "--topic", topic, "--count", str(load.count)]
        command += ["--partitions", str(load.partitions), *OPTIONS, *load.options]
        before = os.times()
        done = subprocess.run(  # noqa: S603 - our own program
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        after = os.times()
        if done.returncode:
            raise RuntimeError(f"activity-loadgen ended with {done.returncode}: {done.stderr[-500:]}")
        report = json.loads(done.stdout.splitlines()[-1])
        sent = report["published"]
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return Published(
            topic,
            sent["events"],
            sent["events"] - sent["invalid"] - sent["duplicate"],
            sent["bytes"],
            used / sent["events"] * 1e6,
            report["events_per_second"],
        )

    def _publish_small(self, topic: str, load: Load) -> Published:
        values = [(SMALL % (at % 1_000_000, at, at % SMALL_USERS)).encode() for at in range(load.count)]

        async def publish() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.kafka, linger_ms=20)
            async with producer:
                for at, value in enumerate(values):
                    await producer.send(topic, value, key=b"%d" % (at % SMALL_USERS))

        started = time.monotonic()
        asyncio.run(publish())
        took = time.monotonic() - started
        return Published(topic, len(values), len(values), sum(map(len, values)), 0.0, len(values) / took)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask Elasticsearch; None when there is no such thing."""
        request = urllib.request.Request(  # noqa: S310 - the stack's own address
            self.elasticsearch + path,
            json.dumps(body).encode() if body is not None else None,
            {"content-type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - as above
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def create_like(self, pattern: str, index: str) -> None:
        """An empty index with the settings and the mapping of one that is there."""
        (found,) = self.ask("GET", f"/{pattern}").values()
        given = found["settings"]["index"]
        chosen = {name: given[name] for name in DOCUMENT_SETTINGS if name in given}
        self.ask("PUT", f"/{index}", {"settings": chosen, "mappings": found["mappings"]})

    def remove_indices(self, prefix: str) -> None:
        """All whose names begin so."""
        for index in self.ask("GET", f"/{prefix}*?filter_path=*.settings.index.provided_name") or ():
            self.ask("DELETE", f"/{index}")

    def close(self) -> None:
        """Remove all that was made; consumer groups go with the topics that they read."""

        async def remove() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
            await admin.start()
            try:
                topics = [topic for topic in await admin.list_topics() if topic.startswith(self.name)]
                if topics:
                    await admin.delete_topics(topics)
            finally:
                await admin.close()

        asyncio.run(remove())
        self.remove_indices(self.name)
        self._remove_keys()
        self._redis.close()

    def _remove_keys(self) -> None:
        """Those that have not expired by themselves."""
        found: list[bytes] = []
        for key in self._redis.scan_iter(match=f"{self.name}*", count=10_000):
            found.append(key)
            if len(found) == 10_000:
                self._redis.unlink(*found)
                found.clear()
        if found:
            self._redis.unlink(*found)


def versions(stack: Stack) -> dict[str, str]:
    """Of the servers that run."""
    return {f"{server.name} (server)": server.version for server in stack.status() if server.name in SERVERS}


def log_folder() -> Path:
    """Where the candidates' logs go."""
    folder = Path(".build") / "bench" / "log"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
