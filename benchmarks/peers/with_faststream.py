"""FastStream: a batch subscriber that hands decoded messages over, `async_bulk` with orjson."""

import asyncio
from typing import Any

from common import BATCH, ELASTICSEARCH, GROUP, KAFKA, TOPIC, action
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from elasticsearch.serializer import OrjsonSerializer
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

broker = KafkaBroker(KAFKA, logger=None)
clients: list[AsyncElasticsearch] = []


@broker.subscriber(
    TOPIC, group_id=GROUP, batch=True, max_records=BATCH, auto_offset_reset="earliest", ack_policy=AckPolicy.ACK
)
async def index(messages: list[dict[str, Any]]) -> None:
    """One batch."""
    if not clients:
        clients.append(AsyncElasticsearch(ELASTICSEARCH, serializers={"application/json": OrjsonSerializer()}))
    await async_bulk(clients[0], [action(message) for message in messages], chunk_size=BATCH, raise_on_error=False)


asyncio.run(FastStream(broker, logger=None).run())
