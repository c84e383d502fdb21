"""The same with what the documentation of its libraries recommends: `getmany`, orjson, `async_bulk`."""

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer
from common import BATCH, ELASTICSEARCH, GROUP, KAFKA, TOPIC, action
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk
from elasticsearch.serializer import OrjsonSerializer


async def main() -> None:
    """Until the process is ended."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=KAFKA, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    client = AsyncElasticsearch(ELASTICSEARCH, serializers={"application/json": OrjsonSerializer()})
    while True:
        actions = []
        for messages in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).values():
            for message in messages:
                try:
                    actions.append(action(orjson.loads(message.value)))
                except (ValueError, KeyError, TypeError):
                    continue
        if actions:
            await async_bulk(client, actions, chunk_size=BATCH, raise_on_error=False)
            await consumer.commit()


asyncio.run(main())
