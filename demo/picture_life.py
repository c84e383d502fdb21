"""One event's whole life on the local stack, for the picture of a trace: published, dead-lettered, corrected, indexed.

docker run -d --name jaeger -p 127.0.0.1:4318:4318 -p 127.0.0.1:16686:16686 jaegertracing/jaeger:2.13.0
python demo/picture_life.py --otlp http://127.0.0.1:4318         # prints the trace's id
python demo/trace_picture.py TRACE_ID --jaeger http://127.0.0.1:16686 -o trace.png
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from elasticsearch import AsyncElasticsearch
from picture_day import Day, begun

CORRECTION: Final = {"transaction": {"amount": 12.5}}
TIMEOUT: Final = 60.0
"""Time for an event to become searchable after its replay (seconds)."""


async def live(day: Day, otlp: str) -> str:
    """Publish an event without an amount, see it dead-lettered, replay it with one; returns its trace's id."""
    traced = os.environ | day.settings(0) | {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "OTEL_BSP_SCHEDULE_DELAY": "500"}
    loadgen = ("--topic", day.name, "--count", "1", "--update-ratio", "0", "--trace-ratio", "1", "--invalid-ratio", "1")
    await _run(traced, "activity_loadgen", *loadgen, "--invalid-kind", "missing_amount")
    await asyncio.sleep(3)
    patch = day.logs / "patch.json"
    patch.write_text(json.dumps(CORRECTION))
    replay = ("dead-letters", "replay", "--error", "missing_field", "--patch", str(patch), "--json")
    await _run(traced, "activity_indexer", *replay)
    return await _trace_id(day)


async def _run(environment: dict[str, str], module: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, env=environment)
    if await process.wait():
        raise SystemExit(f"{module} {' '.join(arguments)} ended with {process.returncode}")


async def _trace_id(day: Day) -> str:
    """The corrected event is the one with its amount."""
    until = time.monotonic() + TIMEOUT
    async with AsyncElasticsearch(day.stack.addresses.elasticsearch) as search:
        while time.monotonic() < until:
            found = await search.search(index=day.name, q=f"amount:{CORRECTION['transaction']['amount']}")
            if hits := found["hits"]["hits"]:
                return str(hits[0]["_source"]["_trace_id"])
            await asyncio.sleep(0.5)
    raise SystemExit(f"the event was not indexed within {TIMEOUT:g} s after its replay; see {day.logs}")


async def main(otlp: str) -> None:
    """A life, and the id of its trace on stdout."""
    os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "OTEL_BSP_SCHEDULE_DELAY": "500"}
    async with begun(Path(tempfile.mkdtemp(prefix="life-")), (0,)) as day:
        found = await live(day, otlp)
        await asyncio.sleep(2)
    print(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Let one event live, with traces.")
    parser.add_argument("--otlp", default="http://127.0.0.1:4318", metavar="URL", help="where spans go")
    asyncio.run(main(parser.parse_args().otlp))
