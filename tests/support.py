"""What tests on real servers share: places of their own, indexer processes, and waiting for things to come true."""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from elasticsearch import AsyncElasticsearch
from processes import started

from activity_indexer.adapters.kafka.records.internals import RecordsConsumer
from activity_stack import Stack

CREATED, UPDATED, DELETED = "transaction.created", "transaction.updated", "transaction.deleted"
SECTIONS = ("KAFKA_", "ELASTICSEARCH_", "REDIS_", "DATABASE_", "CONSUMER_", "OTEL_")


class Servers:
    """The local stack, by the names that tests use."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.kafka = stack.addresses.kafka
        self.elasticsearch_url = stack.addresses.elasticsearch
        self.redis_url = stack.addresses.redis
        self.database_url = stack.addresses.postgres
        self.authority = stack.addresses.authority
        self.environment = stack.environment()
        self.start, self.stop, self.restart = stack.start, stack.stop, stack.restart
        self.kill, self.pause, self.resume = stack.kill, stack.pause, stack.resume


def transaction(identifier: str | None = None, **fields: Any) -> dict[str, Any]:
    """A valid transaction."""
    return {
        "id": identifier or str(uuid.uuid4()),
        "user_id": "user_1",
        "transaction_type": "card",
        "product": "Card",
        "status": "completed",
        "currency": "USD",
        "amount": 100.5,
        "created_at": "2024-01-01T12:00:00Z",
        "metadata": {"merchant_name": "Starbucks", "card_last_four": "1234"},
        **fields,
    }


def event(
    identifier: str | None = None, kind: str = CREATED, timestamp: str = "2024-01-01T12:00:00Z", **fields: Any
) -> dict[str, Any]:
    """A valid event."""
    return {
        "event_type": kind,
        "transaction": transaction(identifier, **fields),
        "timestamp": timestamp,
        "source": "test",
    }


def encoded(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def moment(second: int) -> str:
    """A time so many seconds after the first event's."""
    return f"2024-01-01T{12 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


async def eventually(
    check: Callable[[], Awaitable[Any]], wanted: Any = True, timeout: float = 60.0, every: float = 0.1
) -> Any:
    """Wait until the check gives what is wanted (a value or a predicate); fails with what it gave last."""
    deadline = time.monotonic() + timeout
    while True:
        found = await check()
        if wanted(found) if callable(wanted) else found == wanted:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"expected {wanted!r} within {timeout:g} s, last was {found!r}")
        await asyncio.sleep(every)


END_MARKS_TIMEOUT = 3.0
"""Seconds in which a transaction that was committed gets its end marks; another one may be open for longer."""


@dataclass
class Place:
    """Names of one test's own on the shared servers, and clients to look at them."""

    servers: Servers
    name: str
    admin: Any
    producer: Any
    es: AsyncElasticsearch
    database: str = ""
    partitions: int = 3
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def dead_letter_topic(self) -> str:
        return f"{self.name}.dlq"

    @property
    def index(self) -> str:
        """The index behind the alias."""
        return f"{self.name}-000001"

    @property
    def group(self) -> str:
        return f"{self.name}-group"

    @classmethod
    @asynccontextmanager
    async def on(cls, servers: Servers, partitions: int = 3) -> AsyncIterator["Place"]:
        """A place with a topic and a database schema; partitions=0: without a topic."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=servers.kafka)
        await admin.start()
        producer = AIOKafkaProducer(bootstrap_servers=servers.kafka, max_request_size=2_000_000, linger_ms=2)
        await producer.start()
        es = AsyncElasticsearch(servers.elasticsearch_url, request_timeout=30)
        place = cls(servers, name, admin, producer, es, partitions=partitions)
        try:
            await place.create_topic()
            await place.create_database()
            yield place
        finally:
            await producer.stop()
            await place.clean()
            await admin.close()
            await place.es.close()

    async def create_topic(self, partitions: int | None = None, **configs: str) -> None:
        self.partitions = self.partitions if partitions is None else partitions
        if self.partitions:
            await self.admin.create_topics([NewTopic(self.name, self.partitions, 1, topic_configs=configs)])

    async def add_partitions(self, total: int) -> None:
        """Give the topic more partitions; `publish` knows of them at once."""
        await self.admin.create_partitions({self.name: NewPartitions(total)})
        self.partitions = total
        await self.producer.client.force_metadata_update()

    async def create_database(self) -> None:
        self.database = self.name.replace("-", "_")
        connection = await asyncpg.connect(self.servers.database_url)
        await connection.execute(f"CREATE SCHEMA {self.database}")
        await connection.close()

    @property
    def database_url(self) -> str:
        return f"{self.servers.database_url}?search_path={self.database}"

    async def clean(self) -> None:
        with suppress(Exception):
            await self.admin.delete_topics([self.name, self.dead_letter_topic])
        for index in (self.index, self.name):
            with suppress(Exception):
                await self.es.indices.delete(index=index, ignore_unavailable=True)
        with suppress(Exception):
            connection = await asyncpg.connect(self.servers.database_url)
            await connection.execute(f"DROP SCHEMA {self.database} CASCADE")
            await connection.close()

    def variables(self) -> dict[str, str]:
        """The environment of an indexer on this place: the guide's settings, sped up for tests."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka,
            "KAFKA_TRANSACTIONS_TOPIC": self.name,
            "KAFKA_CONSUMER_GROUP": self.group,
            "KAFKA_SESSION_TIMEOUT": "6",
            "KAFKA_METADATA_MAX_AGE": "2",
            "ELASTICSEARCH_URL": self.servers.elasticsearch_url,
            "ELASTICSEARCH_INDEX": self.name,
            "REDIS_URL": self.servers.redis_url,
            "REDIS_KEY_PREFIX": self.name,
            "DATABASE_URL": self.database_url,
            "CONSUMER_BATCH_SIZE": "50",
            "CONSUMER_BATCH_TIMEOUT": "0.2",
            "CONSUMER_HTTP_HOST": "127.0.0.1",
            "CONSUMER_HTTP_PORT": "0",
            "CONSUMER_LOG_FORMAT": "json",
            "CONSUMER_BACKOFF_INITIAL": "0.1",
            "CONSUMER_BACKOFF_MAX": "1",
            "CONSUMER_ENABLE_AUDIT_DB": "false",
            **self.environment,
        }

    async def publish(self, values: Iterable[object], key: str | None = "user_1", headers: Any = ()) -> list[Any]:
        """Send values (bytes, None, or what JSON is made of); returns where each was put."""
        sent = [
            await self.producer.send(
                self.name, None if value is None else encoded(value), key=key and key.encode(), headers=list(headers)
            )
            for value in values
        ]
        return list(await asyncio.gather(*sent))

    async def documents(self, index: str | None = None) -> dict[str, dict[str, Any]]:
        """Documents that a search of the alias (or of an index) finds, by id, with `_version`."""
        index = index or self.name
        if not await self.es.indices.exists(index=index):
            return {}
        await self.es.indices.refresh(index=index)
        answer = await self.es.search(index=index, size=10_000, version=True, query={"match_all": {}})
        return {hit["_id"]: hit["_source"] | {"_version": hit["_version"]} for hit in answer["hits"]["hits"]}

    async def count(self) -> int:
        return len(await self.documents())

    async def raw_source(self, identifier: str) -> str:
        """The bytes of a document's body as Elasticsearch keeps them."""

        quoted = urllib.parse.quote(identifier, safe="")

        def ask() -> str:
            url = f"{self.servers.elasticsearch_url}/{self.index}/_source/{quoted}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(ask)

    async def dead_letters(self) -> list[Any]:
        """All records of the dead-letter topic."""
        return await self.records(self.dead_letter_topic)

    async def records(self, topic: str) -> list[Any]:
        """All records of a topic, read past the end marks of transactions.

        The broker answers a commit before its mark is in each partition: those that are under way are waited for.
        """
        consumer = RecordsConsumer(
            bootstrap_servers=self.servers.kafka,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_record_bytes=2**28,
        )
        await consumer.start()
        try:
            if topic not in await consumer.topics():
                return []
            shape = (await self.admin.describe_topics([topic]))[0]
            places = [TopicPartition(topic, number) for number in range(len(shape["partitions"]))]
            consumer.assign(places)
            found: list[Any] = []
            until = time.monotonic() + END_MARKS_TIMEOUT
            while True:
                ends = await consumer.end_offsets(places)
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
                unmarked = any((consumer.highwater(place) or 0) > end for place, end in ends.items())
                behind = any([await consumer.position(place) < end for place, end in ends.items()])
                if not behind and not (unmarked and time.monotonic() < until):
                    return found
        finally:
            await consumer.stop()

    async def partition_count(self, topic: str) -> int:
        """Partitions of a topic; 0 when it is absent."""
        topics = await self.admin.describe_topics()
        return next((len(each["partitions"]) for each in topics if each["topic"] == topic), 0)

    async def lag(self, group: str | None = None) -> int:
        """Events of the topic that the group has not committed."""
        offsets = await self.admin.list_consumer_group_offsets(group or self.group)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers.kafka)
        await consumer.start()
        try:
            places = [TopicPartition(self.name, number) for number in range(self.partitions)]
            ends = await consumer.end_offsets(places)
        finally:
            await consumer.stop()
        return sum(end - (offsets[place].offset if place in offsets else 0) for place, end in ends.items())

    async def rows(self, query: str) -> list[Any]:
        """What PostgreSQL answers, in the test's own schema."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()


def environment(place: Place, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process on a test's place: nothing of the machine's own settings is left in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SECTIONS)}
    return {**kept, **place.variables(), **variables}


class Indexer:
    """An indexer in a process of its own, as people run it."""

    def __init__(
        self,
        place: Place,
        log: Path,
        variables: Mapping[str, str],
        command: Sequence[str] | None = None,
    ) -> None:
        self.log = log
        if "PYTHONPATH" in variables:
            command = ["-m", "activity_indexer", "run"]
        self.process = started(environment(place, variables), log, command)
        self._port = 0

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def logged(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    async def port(self) -> int:
        while not self._port:
            if self.process.poll() is not None:
                raise AssertionError(f"the indexer ended with {self.process.returncode}:\n{self.log.read_text()}")
            for line in self.logged("http.listening"):
                self._port = int(line["port"])
            await asyncio.sleep(0.05)
        return self._port

    async def get(self, path: str) -> tuple[int, str]:
        port = await self.port()

        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return await asyncio.to_thread(ask)

    async def ready(self, timeout: float = 60.0) -> "Indexer":
        async def status() -> int:
            return (await self.get("/readyz"))[0]

        await eventually(status, 200, timeout)
        return self

    async def reasons(self, path: str = "/readyz") -> str:
        """What a probe answers, as one text."""
        status, text = await self.get(path)
        return f"{status} {' | '.join(json.loads(text)['reasons'])}"

    async def outcomes(self) -> dict[str, int]:
        """Events settled so far, by outcome."""
        _, text = await self.get("/metrics")
        found: Counter[str] = Counter()
        for line in text.splitlines():
            if line.startswith("activity_indexer_events_total{"):
                outcome = line.partition('outcome="')[2].partition('"')[0]
                found[outcome] += int(float(line.rsplit(" ", 1)[1]))
        return {outcome: count for outcome, count in found.items() if count}

    async def settled(self, events: int, timeout: float = 60.0) -> dict[str, int]:
        """The outcomes, when so many events are settled."""
        return dict(await eventually(self.outcomes, lambda found: sum(found.values()) >= events, timeout))

    def cpu_seconds(self) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's series that carry these labels."""
        _, text = await self.get("/metrics")
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.split("{")[0].split(" ")[0] == f"activity_indexer_{name}" and all(each in line for each in wanted)
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, timeout: float = 60.0) -> int:
        """Ask for the end; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def end(self) -> None:
        """End it, whatever it is doing."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
