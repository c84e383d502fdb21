"""A topic and an index of a test's own, with a plain indexer between them, for tests of the load generator."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from activity_indexer.adapters.kafka.records.internals import batch_maker
from activity_indexer.ports import OutRecord
from activity_loadgen.expected import ExpectedState
from activity_loadgen.kafka import KafkaConnection, admin_client, partitions_of
from activity_loadgen.publish import PublishOptions
from activity_loadgen.search import SearchConnection

MAPPING = {
    "dynamic": False,
    "properties": {
        "id": {"type": "keyword"},
        "user_id": {"type": "keyword"},
        "metadata": {"type": "flattened", "ignore_above": 1024},
        "_deleted_at": {"type": "date"},
    },
}


@dataclass
class Place:
    """A topic and an alias of a test's own, and a plain indexer that fills the one from the other."""

    servers: str
    url: str
    session: aiohttp.ClientSession
    name: str = field(default_factory=lambda: f"load-{uuid.uuid4().hex[:12]}")

    @property
    def kafka(self) -> KafkaConnection:
        return KafkaConnection(self.servers)

    @property
    def search(self) -> SearchConnection:
        return SearchConnection(self.url, self.name)

    @property
    def concrete(self) -> str:
        return f"{self.name}-000001"

    @property
    def publish(self) -> PublishOptions:
        return PublishOptions(topic=self.name, partitions=3, wait=20)

    async def ask(self, method: str, path: str, body: object = None, **params: str) -> dict[str, Any]:
        data = body if isinstance(body, bytes) else msgspec.json.encode(body) if body is not None else None
        headers = {"Content-Type": "application/json"}
        async with self.session.request(
            method, f"{self.url}/{path}", data=data, headers=headers, params=params
        ) as response:
            answer = await response.json()
            assert response.status < 300, answer
            return answer

    async def make_index(self) -> None:
        hidden = {"bool": {"must_not": {"exists": {"field": "_deleted_at"}}}}
        await self.ask(
            "PUT",
            self.concrete,
            {
                "settings": {"number_of_replicas": 0, "refresh_interval": "200ms"},
                "mappings": MAPPING,
                "aliases": {self.name: {"filter": hidden}},
            },
        )

    async def records(self) -> list[ConsumerRecord]:
        async with admin_client(self.kafka) as client:
            number = await partitions_of(client, self.name)
        partitions = [TopicPartition(self.name, partition) for partition in range(number)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            records = []
            while len(records) < sum(ends.values()):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records += batch
            return records
        finally:
            await consumer.stop()

    async def put(self, transaction_id: str, version: int, document: bytes) -> None:
        await self.put_all([(transaction_id, version, document)])

    async def put_all(self, documents: list[tuple[str, int, bytes]]) -> None:
        lines = bytearray()
        for transaction_id, version, document in documents:
            head = {"_id": transaction_id, "version": version, "version_type": "external_gte"}
            lines += msgspec.json.encode({"index": head}) + b"\n" + document + b"\n"
        answer = await self.ask("POST", f"{self.concrete}/_bulk", bytes(lines), refresh="true")
        assert not answer["errors"], answer

    async def remove(self, transaction_id: str) -> None:
        await self.ask("DELETE", f"{self.concrete}/_doc/{transaction_id}", refresh="true")

    async def document(self, transaction_id: str) -> dict[str, Any]:
        return await self.ask("GET", f"{self.concrete}/_source/{transaction_id}")

    async def index(self, expected: ExpectedState, records: list[ConsumerRecord], *, skip: str | None = None) -> None:
        """Do what the indexer must do with valid events, but for one transaction."""
        values = {(record.partition, record.offset): record.value for record in records}
        await self.put_all(
            [
                (key, event.version, tombstone(key) if event.deleted else enriched(values[event.position]))
                for key, event in expected.final.items()
                if key != skip
            ]
        )

    async def dead_letter(self, *positions: tuple[int, int], headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Write a dead letter for each of these events, with the event's own headers before the others."""
        producer = AIOKafkaProducer(bootstrap_servers=self.servers)
        await producer.start()
        try:
            for partition, offset in positions:
                told = [
                    *headers,
                    ("dead-letter-partition", str(partition).encode()),
                    ("dead-letter-offset", str(offset).encode()),
                    ("dead-letter-stage", b"validate"),
                ]
                batch = batch_maker(producer, [OutRecord(b"key", b"broken", told)])()
                assert batch.append(timestamp=None, key=b"key", value=b"broken", headers=told)
                await (await producer.send_batch(batch, f"{self.name}.dlq", partition=0))
        finally:
            await producer.stop()


class _Event(msgspec.Struct):
    transaction: msgspec.Raw


def tombstone(transaction_id: str) -> bytes:
    return msgspec.json.encode({"id": transaction_id, "user_id": "u", "_deleted_at": "2024-01-01T00:00:00Z"})


def enriched(value: bytes) -> bytes:
    """The transaction of an event, its own bytes, with a field more."""
    transaction = bytes(msgspec.json.decode(value, type=_Event).transaction)
    return transaction[:-1] + b',"_enriched":true}'


class _Said(msgspec.Struct):
    event_type: str
    timestamp: str


def positioned(document: bytes, value: bytes, position: str) -> bytes:
    """The document with the fields that say which event it stands for."""
    said = msgspec.json.decode(value, type=_Said)
    fields = {"event_type": said.event_type, "_updated_at": said.timestamp, "_position": position}
    return document[:-1] + b"," + msgspec.json.encode(fields)[1:]
