"""The limit of Elasticsearch on this machine: ready bulk bodies that were recorded before, sent by nothing but HTTP.

`limit.py RECORD`: each body is preceded by its length (8 bytes); eight requests are under way.
"""

import asyncio
import sys
from pathlib import Path

import aiohttp
from common import ELASTICSEARCH, INDEX

UNDER_WAY = 8


def bodies(record: bytes) -> list[bytes]:
    """All of a record."""
    found, at = [], 0
    while at < len(record):
        size = int.from_bytes(record[at : at + 8], "big")
        found.append(record[at + 8 : at + 8 + size])
        at += 8 + size
    return found


async def main() -> None:
    """Send each body once."""
    waiting = iter(bodies(await asyncio.to_thread(Path(sys.argv[1]).read_bytes)))
    url = f"{ELASTICSEARCH}/{INDEX}/_bulk?filter_path=errors,items.*.status"

    async def work(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body, headers={"content-type": "application/x-ndjson"}) as reply:
                await reply.read()

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(work(session) for _ in range(UNDER_WAY)))
    await asyncio.Event().wait()


asyncio.run(main())
