"""How little the same documents can cost in Python: typed decoding, bytes that are spliced, plain HTTP, four in flight.

A lower bound, no indexer: it keeps no promise when anything fails, and its enrichment is the short one of `common`.
"""

import asyncio
import gc
import time
from collections.abc import Iterable

import aiohttp
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from common import BATCH, ELASTICSEARCH, ENRICHED_AT, GROUP, INDEX, KAFKA, STRATEGIES, TOPIC, version_of

LINES = (
    b'{"index":{"_id":"%b","version":%d,"version_type":"external"}}\n'
    b'%b,"event_type":"%b","_updated_at":"%b","_enriched":true,"_enriched_at":"%b","enrichment":{"day":"%b",'
    b'"month":"%b","amount_absolute":%b,"sign":"%b",%b,"search_content":%b}\n'
)


class Transaction(msgspec.Struct, gc=False):
    """What is looked at."""

    id: str
    user_id: str
    transaction_type: str
    status: str
    currency: str
    amount: msgspec.Raw
    created_at: str
    product: str | None = None
    metadata: dict[str, str] | None = None


class Event(msgspec.Struct, gc=False):
    """The transaction stays text."""

    event_type: str
    transaction: msgspec.Raw
    timestamp: str


class Answer(msgspec.Struct):
    """Of a bulk request."""

    errors: bool


event_of = msgspec.json.Decoder(Event).decode
transaction_of = msgspec.json.Decoder(Transaction).decode
answer_of = msgspec.json.Decoder(Answer).decode
text = msgspec.json.Encoder().encode


def lines(value: bytes) -> bytes:
    """The two lines of a bulk body."""
    event = event_of(value)
    body = bytes(event.transaction)
    found = transaction_of(body)
    version = version_of(event.timestamp, event.event_type)
    if not found.id or not found.user_id:
        raise ValueError("empty id")
    amount, day = bytes(found.amount), found.created_at[:10]
    float(amount)
    negative = amount.startswith(b"-")
    fields, terms = STRATEGIES[found.transaction_type](found.metadata or {})
    words = (
        f"{found.id} {found.user_id} {found.transaction_type} {found.product} {found.status} {found.currency}"
        f" {amount.decode()} {day} {' '.join(terms)}"
    )
    return LINES % (
        found.id.encode(),
        version,
        body[:-1],
        event.event_type.encode(),
        event.timestamp.encode(),
        ENRICHED_AT.encode(),
        day.encode(),
        day[:7].encode(),
        amount[1:] if negative else amount,
        b"negative" if negative else b"positive",
        text(fields)[1:],
        text(" ".join(dict.fromkeys(words.lower().split()))),
    )


def bulk_body(batches: Iterable[list[ConsumerRecord[bytes, bytes]]]) -> bytes:
    """Of all records."""
    return b"".join([lines(record.value) for records in batches for record in records])


async def main() -> None:
    """Until the process is ended."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=KAFKA, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    session, places = aiohttp.ClientSession(), asyncio.Semaphore(4)
    url = f"{ELASTICSEARCH}/{INDEX}/_bulk?filter_path=errors,items.*.status"

    async def send(body: bytes) -> None:
        try:
            async with session.post(url, data=body, headers={"content-type": "application/x-ndjson"}) as reply:
                answer_of(await reply.read())
        finally:
            places.release()

    committed, under_way = 0.0, set[asyncio.Task[None]]()
    while True:
        fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
        if not fetched:
            continue
        body = bulk_body(fetched.values())
        await places.acquire()
        task = asyncio.get_running_loop().create_task(send(body))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        if time.monotonic() - committed > 1:
            await asyncio.gather(*under_way)
            await consumer.commit()
            committed = time.monotonic()


uvloop.run(main())
