"""What a rate of events needs, and what breaks first: `python benchmarks/scale.py [--rate 1000000] [--json]`.

Arithmetic from a few measured numbers, and a simulation of what stops a consumer group: restarts, crashes, outages.
The same arguments give the same answer. docs/scale.md explains the table.

`--measure-redis URL` measures the bytes of one id on a server of your own, whose database must be empty.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Final

DAY: Final = 86_400
GB: Final = 1e9
LUCENE_DOCUMENTS: Final = 2_147_483_519
"""Documents that one shard can hold at all."""


LABELS: Final = {
    "rate": "events/s",
    "process_cores": "indexer: cores, at full load",
    "processes": "processes, at 60 % of a core each",
    "processes_memory_gb": "their memory (GB)",
    "partitions": "partitions of the topic",
    "kafka_in_mb_per_s": "Kafka: compressed events (MB/s)",
    "kafka_disk_tb": "disk for 3 days, 3 replicas (TB)",
    "redis_day_gb": "Redis: ids of 24 h (GB)",
    "redis_ttl_minutes": "minutes of ids that one server of 64 GB takes (0: too many a second)",
    "es_requests_mb_per_s": "Elasticsearch: bulk requests (MB/s)",
    "es_vcpus": "vCPU, one replica, 60 % busy",
    "es_nodes": "nodes of 16 vCPU and 10 TB",
    "es_documents_per_day": "documents a day",
    "es_shards": "primary shards for 30 days",
    "es_disk_tb": "disk for 30 days, one replica (TB)",
    "es_index_full_days": "days until one index of 1,024 shards is full",
    "pg_databases": "PostgreSQL: databases for the audit",
    "pg_disk_tb": "disk for 30 days (TB)",
}


@dataclass(frozen=True)
class Numbers:
    """What the arithmetic starts from; docs/scale.md says where each comes from."""

    event_bytes: int = 562
    compression: float = 0.12
    updates: float = 0.25
    process_us: float = 20.0
    busy: float = 0.6
    partition_bytes_per_s: float = 5e6
    partitions_per_process: int = 4
    kafka_replicas: int = 3
    kafka_days: int = 3
    redis_id_bytes: int = 193
    redis_ids_per_s: int = 150_000
    redis_gb: float = 64.0
    process_mib: int = 512
    es_document_bytes: int = 690
    es_docs_per_vcpu: int = 4_400
    es_vcpus_per_node: int = 16
    es_replicas: int = 1
    es_shard_gb: float = 50.0
    es_shard_documents: int = 200_000_000
    es_disk_gb: float = 10_000.0
    es_index_shards: int = 1_024
    es_days: int = 30
    pg_rows_per_s: int = 30_000
    pg_event_bytes: int = 818
    pg_transaction_bytes: int = 1_164
    pg_days: int = 30


@dataclass(frozen=True)
class Plan:
    """What a rate of events needs, part by part."""

    rate: int
    process_cores: float
    processes: int
    processes_memory_gb: float
    partitions: int
    kafka_in_mb_per_s: float
    kafka_disk_tb: float
    redis_day_gb: float
    redis_ttl_minutes: float
    es_requests_mb_per_s: float
    es_vcpus: float
    es_nodes: int
    es_documents_per_day: float
    es_shards: int
    es_disk_tb: float
    es_index_full_days: float
    pg_databases: int
    pg_disk_tb: float


def plan(rate: int, numbers: Numbers | None = None) -> Plan:
    """The plan for this many events per second, all the time."""
    n = numbers or Numbers()
    cores = rate * n.process_us / 1e6
    processes = math.ceil(cores / n.busy)
    kafka_bytes = rate * n.event_bytes * n.compression
    partitions = processes * max(n.partitions_per_process, math.ceil(kafka_bytes / n.partition_bytes_per_s / processes))
    transactions = rate / (1 + n.updates) * DAY
    written = rate * (1 + n.es_replicas)  # each replica indexes each event again
    documents = transactions * n.es_days
    stored = documents * n.es_document_bytes
    shards = math.ceil(documents / _documents_of_shard(n))
    es_disk = stored * (1 + n.es_replicas)
    vcpus = written / n.es_docs_per_vcpu / n.busy
    pg_disk = rate * DAY * n.pg_days * n.pg_event_bytes + transactions * n.pg_days * n.pg_transaction_bytes
    return Plan(
        rate=rate,
        process_cores=round(cores, 1),
        processes=processes,
        processes_memory_gb=round(processes * n.process_mib * 2**20 / GB, 1),
        partitions=partitions,
        kafka_in_mb_per_s=round(kafka_bytes / 1e6, 1),
        kafka_disk_tb=round(kafka_bytes * DAY * n.kafka_days * n.kafka_replicas / 1e12, 1),
        redis_day_gb=round(rate * DAY * n.redis_id_bytes / GB, 1),
        redis_ttl_minutes=_ttl(rate, n),
        es_requests_mb_per_s=round(rate * n.event_bytes * 1.8 / 1e6, 1),
        es_vcpus=round(vcpus, 1),
        es_nodes=max(math.ceil(vcpus / n.es_vcpus_per_node), math.ceil(es_disk / n.es_disk_gb / GB)),
        es_documents_per_day=round(transactions),
        es_shards=shards,
        es_disk_tb=round(es_disk / 1e12, 1),
        es_index_full_days=round(n.es_index_shards * _documents_of_shard(n) / transactions, 1),
        pg_databases=math.ceil(rate / n.pg_rows_per_s),
        pg_disk_tb=round(pg_disk / 1e12, 1),
    )


def _documents_of_shard(numbers: Numbers) -> float:
    """As many as its size allows, below the number that Elastic advises and the one that Lucene can hold."""
    by_size = numbers.es_shard_gb * GB / numbers.es_document_bytes
    return min(by_size, numbers.es_shard_documents, LUCENE_DOCUMENTS)


def _ttl(rate: int, numbers: Numbers) -> float:
    """Minutes for which one server can keep the ids, a day at most; 0 when it cannot take as many a second."""
    if rate > numbers.redis_ids_per_s:
        return 0.0
    return round(min(DAY, numbers.redis_gb * GB / numbers.redis_id_bytes / rate) / 60, 1)


def limits(numbers: Numbers | None = None) -> dict[str, int]:
    """Events per second that one of each part can do, the first to break first."""
    n = numbers or Numbers()
    found = {
        f"Redis of {n.redis_gb:g} GB, ids of 24 h": n.redis_gb * GB / n.redis_id_bytes / DAY,
        "PostgreSQL, the audit in one database": n.pg_rows_per_s,
        "one indexer process, a core at full load": 1e6 / n.process_us,
        f"three Elasticsearch nodes of {n.es_vcpus_per_node} vCPU, one replica": 3
        * n.es_vcpus_per_node
        * n.es_docs_per_vcpu
        / (1 + n.es_replicas),
        "Redis, its one thread": n.redis_ids_per_s,
        f"Redis of {n.redis_gb:g} GB, ids of an hour": n.redis_gb * GB / n.redis_id_bytes / 3600,
        "a partition of Kafka": n.partition_bytes_per_s / n.event_bytes / n.compression,
    }
    return dict(sorted(((name, round(value)) for name, value in found.items()), key=lambda pair: pair[1]))


@dataclass(frozen=True)
class Stop:
    """From `at` on nothing is settled for `seconds`; of all partitions, or of those only that a story is about."""

    at: float
    seconds: float
    everywhere: bool = True


@dataclass(frozen=True)
class Story:
    """What happens to a group, and which share of the partitions it is about."""

    name: str
    stops: tuple[Stop, ...]
    share: float = 1.0


@dataclass(frozen=True)
class StopCost:
    """Of a story: for how long a partition stood and an event waited, how many were behind, and when it was over."""

    name: str
    stood_seconds: float
    longest_wait_seconds: float
    most_events_behind: int
    over_after_seconds: float | None


def stories(processes: int, pause: float = 3.8, session: float = 9.0, start: float = 10.0) -> list[Story]:
    """What happens to a group of this many processes.

    `pause` is how long the group pauses when a member comes or goes, `session` the session timeout, and `start` how
    long a new process takes until it joins.
    """
    lost = (Stop(0, session, everywhere=False), Stop(session, pause))
    return [
        Story("one more process", (Stop(0, pause),)),
        Story("rolling update, one process after the other", _rolling(processes, pause, start)),
        Story("rolling update, a quarter of them at a time", _rolling(4, pause, start)),
        Story("a process is killed and starts again", (*lost, Stop(session + start, pause)), 1 / processes),
        Story("a tenth of the processes is lost", lost, 0.1),
        Story("Elasticsearch is unavailable for ten minutes", (Stop(0, 600),)),
    ]


def _rolling(steps: int, pause: float, start: float) -> tuple[Stop, ...]:
    """In each step old processes leave, and new ones join when they have started."""
    length = 2 * pause + start
    return tuple(Stop(step * length + turn * (pause + start), pause) for step in range(steps) for turn in (0, 1))


def play(story: Story, rate: float, capacity: float, until: float = 4 * 3600, step: float = 0.1) -> StopCost:
    """Let events come at a rate into a group that can settle `capacity` a second while nothing stops it."""
    shares = [share for share in (story.share, 1 - story.share) if share > 0]
    behind, most, longest, stood = [0.0, 0.0], 0.0, 0.0, 0.0
    last = max(stop.at + stop.seconds for stop in story.stops)
    over: float | None = None
    for tick in range(round(until / step)):
        now = tick * step
        stops = [stop for stop in story.stops if stop.at <= now < stop.at + stop.seconds]
        stood += step * bool(stops)
        for place, share in enumerate(shares):
            stopped = any(stop.everywhere or place == 0 for stop in stops)
            behind[place] = max(0.0, behind[place] + (rate - (0 if stopped else capacity)) * share * step)
            longest = max(longest, behind[place] / share / rate)
        most = max(most, sum(behind))
        if now >= last and sum(behind) < rate * step:
            over = round(now, 1)
            break
    return StopCost(story.name, round(stood, 1), round(longest, 1), round(most), over)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    lines = [list(head), *[[_shown(cell) for cell in row] for row in rows]]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(cell: object) -> str:
    if cell is None:
        return "never"
    return f"{cell:,}" if isinstance(cell, (int, float)) else str(cell)


def plans_table(plans: Iterable[Plan]) -> str:
    """Plans side by side."""
    shown = list(plans)
    rows = [[label, *[getattr(each, name) for each in shown]] for name, label in LABELS.items() if name != "rate"]
    return table([LABELS["rate"], *[_shown(each.rate) for each in shown]], rows)


def limits_table(numbers: Numbers | None = None) -> str:
    """What breaks first."""
    return table(["one of", "events/s"], limits(numbers).items())


def stories_table(costs: Iterable[StopCost]) -> str:
    """What stops a group costs."""
    head = ["", "a partition is not consumed (s)", "an event waits at most (s)", "events behind", "over after (s)"]
    return table(head, [asdict(each).values() for each in costs])


async def measured_redis(url: str, ids: int) -> dict[str, float]:
    """Bytes and microseconds of the server for each id, marked as the indexer marks them."""
    from pydantic import SecretStr  # noqa: PLC0415 - only where it is measured
    from redis.asyncio import Redis  # noqa: PLC0415

    from activity_indexer.adapters.redis.store import RedisSeenStore, seen_namespace  # noqa: PLC0415
    from activity_indexer.pipeline.dedup import PROBE  # noqa: PLC0415
    from activity_indexer.settings import load_settings  # noqa: PLC0415

    (entry,) = PROBE.values()
    settings = load_settings().redis.model_copy(update={"url": SecretStr(url)})
    client = Redis.from_url(url)
    if await client.dbsize():
        raise SystemExit(f"{url} is not empty: name a server of your own")
    store = RedisSeenStore(settings, DAY, lambda: seen_namespace("transaction_indexer", "index.history"))
    before, busy = (await client.info("memory"))["used_memory"], await _cpu(client)
    for first in range(0, ids, 1000):
        names = [hashlib.blake2b(b"%d" % number, digest_size=16).digest() for number in range(first, first + 1000)]
        await store.mark({name: (name * 3)[: len(entry)] for name in names})
    after = (await client.info("memory"))["used_memory"]
    spent = await _cpu(client) - busy
    await client.flushdb()
    await store.stop()
    await client.aclose()
    return {"bytes_per_id": round((after - before) / ids, 1), "us_per_id": round(spent / ids * 1e6, 2)}


async def _cpu(client: object) -> float:
    found = await client.info("cpu")  # type: ignore[attr-defined]
    return float(found["used_cpu_sys"] + found["used_cpu_user"])


def main() -> None:
    """Print the plans, the limits and the stories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, action="append", help="events per second; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another number to start from")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure-redis", metavar="URL")
    parser.add_argument("--ids", type=int, default=1_000_000)
    given = parser.parse_args()
    if given.measure_redis:
        print(json.dumps(asyncio.run(measured_redis(given.measure_redis, given.ids))))
        return
    kinds = {field.name: type(field.default) for field in fields(Numbers)}
    pairs = (text.partition("=") for text in given.set)
    numbers = Numbers(**{name: kinds[name](value) for name, _, value in pairs})
    plans = [plan(rate, numbers) for rate in given.rate or (10_000, 100_000, 1_000_000)]
    last = plans[-1]
    costs = [play(story, last.rate, last.processes * 1e6 / numbers.process_us) for story in stories(last.processes)]
    if given.json:
        found = {"numbers": asdict(numbers), "plans": [asdict(each) for each in plans]}
        print(json.dumps({**found, "limits": limits(numbers), "stops": [asdict(each) for each in costs]}, indent=1))
        return
    print("\n\n".join([plans_table(plans), limits_table(numbers), stories_table(costs)]))


if __name__ == "__main__":
    main()
