"""The first program one writes: `async for`, `json`, `async_bulk`."""

import asyncio
import json

from aiokafka import AIOKafkaConsumer
from common import BATCH, ELASTICSEARCH, GROUP, KAFKA, TOPIC, action
from elasticsearch import AsyncElasticsearch
from elasticsearch.helpers import async_bulk


async def main() -> None:
    """Until the process is ended."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=KAFKA, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    client, actions = AsyncElasticsearch(ELASTICSEARCH), []
    async for message in consumer:
        try:
            actions.append(action(json.loads(message.value)))
        except (ValueError, KeyError, TypeError):
            continue
        if len(actions) >= BATCH:
            await async_bulk(client, actions, chunk_size=BATCH, raise_on_error=False)
            await consumer.commit()
            actions = []


asyncio.run(main())
