"""The faults: how each is made and healed. Neither fails because another fault is at work."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IllegalOperation, KafkaError
from chaos import proxy, small_disk
from chaos.system import System, patiently
from elasticsearch import BadRequestError
from redis.asyncio import Redis
from redis.exceptions import RedisError

Heal = Callable[[], Awaitable[None]]
Inject = Callable[[System, random.Random], Awaitable[Heal]]
DYNAMIC_TOPIC_CONFIG = 1
FARTHEST_CLOCK = 20 * 3600.0
"""Seconds: below CONSUMER_MAX_CLOCK_SKEW, beyond which every event would be one from the future."""


@dataclass(frozen=True)
class Fault:
    """`inject` makes it and gives what heals it. It lasts this many seconds (least and most).

    `touches` names what two faults at a time must not both touch.
    """

    name: str
    touches: str
    lasts: tuple[float, float]
    inject: Inject


async def nothing() -> None:
    """There is nothing to heal."""


def server(action: str, name: str) -> Inject:
    """A server is ended or paused, and started or resumed."""
    undo = "resume" if action == "pause" else "start"

    async def inject(system: System, _: random.Random) -> Heal:
        await system.server(action, name)
        return lambda: system.server(undo, name)

    return inject


def between(make: Callable[[random.Random], proxy.Trouble]) -> Inject:
    """A proxy before Elasticsearch makes trouble."""

    async def inject(system: System, rng: random.Random) -> Heal:
        system.proxy.trouble = make(rng)

        async def heal() -> None:
            system.proxy.trouble = proxy.healthy

        return heal

    return inject


async def indexer_killed(system: System, rng: random.Random) -> Heal:
    """SIGKILL for one, and another starts."""
    if system.fleet.running:
        await asyncio.to_thread(system.fleet.kill, rng.choice(system.fleet.running))
    return _start(system, 1)


async def all_indexers_killed(system: System, _: random.Random) -> Heal:
    """SIGKILL for all at once."""
    victims = list(system.fleet.running)
    for process in victims:
        await asyncio.to_thread(system.fleet.kill, process)
    return _start(system, len(victims))


async def indexer_terminated(system: System, rng: random.Random) -> Heal:
    """SIGTERM for one, and another starts."""
    if system.fleet.running:
        await asyncio.to_thread(system.fleet.terminate, rng.choice(system.fleet.running))
    return _start(system, 1)


async def indexer_frozen(system: System, rng: random.Random) -> Heal:
    """SIGSTOP for longer than the session timeout, then SIGCONT: it wakes up with work that is no longer its own."""
    process = rng.choice(system.fleet.running)
    system.fleet.freeze(process)

    async def heal() -> None:
        system.fleet.thaw(process)

    return heal


def _start(system: System, count: int) -> Heal:
    async def heal() -> None:
        for _ in range(count):
            system.fleet.start()

    return heal


async def rebalance_storm(system: System, rng: random.Random) -> Heal:
    """Strangers join the group and leave it, again and again; they take partitions and do nothing with them."""
    task = asyncio.create_task(_storm(system, rng))

    async def heal() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return heal


async def _storm(system: System, rng: random.Random) -> None:
    while True:
        stranger = AIOKafkaConsumer(
            system.place.name,
            bootstrap_servers=system.place.servers.kafka,
            group_id=system.place.group,
            enable_auto_commit=False,
            session_timeout_ms=6000,
            rebalance_timeout_ms=10_000,
        )
        with suppress(KafkaError, OSError):
            try:
                await stranger.start()
                await asyncio.sleep(rng.uniform(0.2, 1.0))
            finally:
                await asyncio.shield(stranger.stop())
        await asyncio.sleep(rng.uniform(0.1, 0.5))


async def partitions_added(system: System, rng: random.Random) -> Heal:
    """The topic grows: events of a user move to another partition from now on."""
    total = system.place.partitions + rng.randint(1, 3)
    await patiently(lambda: system.place.add_partitions(total))
    return nothing


async def index_read_only(system: System, rng: random.Random) -> Heal:
    """The block that Elasticsearch itself sets when its disk is nearly full, or one that operators set."""
    kind = rng.choice(("read_only_allow_delete", "read_only", "write"))

    async def block(state: bool | None) -> None:
        settings: dict[str, Any] = {f"index.blocks.{kind}": state}
        await patiently(lambda: system.place.es.indices.put_settings(index=system.place.index, settings=settings))

    await block(True)
    return lambda: block(None)


async def rolled_over(system: System, _: random.Random) -> Heal:
    """A second index is put behind the alias and takes its writes, as a rollover does; then it is taken out again."""
    alias, second = system.place.name, f"{system.place.name}-000777"

    async def change(*actions: dict[str, Any]) -> None:
        await patiently(lambda: system.place.es.indices.update_aliases(actions=list(actions)))

    async def make() -> None:
        with suppress(BadRequestError):  # it is there
            await system.place.es.indices.create(index=second)

    async def entry() -> dict[str, Any]:
        found = await system.place.es.indices.get_alias(index=first["index"], name=alias)
        return dict(found[first["index"]]["aliases"][alias])

    first = {"index": system.place.index, "alias": alias}
    await patiently(make)
    before = await patiently(entry)
    await change(
        {"add": {**first, **before, "is_write_index": False}},
        {"add": {"index": second, "alias": alias, "is_write_index": True}},
    )

    async def heal() -> None:
        await change({"remove": {"index": second, "alias": alias}}, {"add": {**first, **before}})
        await patiently(lambda: system.place.es.indices.delete(index=second, ignore_unavailable=True))

    return heal


async def transaction_open(system: System, rng: random.Random) -> Heal:
    """A producer's transaction hides all that is published after its beginning; it is aborted at the end."""
    producer = AIOKafkaProducer(
        bootstrap_servers=system.place.servers.kafka, transactional_id=f"{system.place.name}.{rng.getrandbits(32):x}"
    )
    with suppress(*CLIENT_ERRORS):
        async with asyncio.timeout(10):
            await producer.start()
            await producer.begin_transaction()
            for number in range(system.place.partitions):
                await producer.send_and_wait(system.place.name, b"never committed", partition=number)

    async def heal() -> None:
        for end in (producer.abort_transaction, producer.stop):
            with suppress(*CLIENT_ERRORS):
                async with asyncio.timeout(20):
                    await end()

    return heal


async def ports_flooded(system: System, _: random.Random) -> Heal:
    """Many clients of each indexer's HTTP port begin a request, and never end it."""
    writers: list[asyncio.StreamWriter] = []
    for process in system.fleet.running:
        for line in process.logged("http.listening"):
            for _client in range(FLOOD):
                with suppress(OSError):
                    async with asyncio.timeout(1):
                        _, writer = await asyncio.open_connection("127.0.0.1", int(line["port"]))
                        writer.write(b"GET /metrics HTTP/1.1\r\nHost: flood\r\nX-")
                        writers.append(writer)

    async def heal() -> None:
        for writer in writers:
            writer.transport.abort()

    return heal


def redis_configured(broken: Mapping[str, str], working: Mapping[str, str]) -> Inject:
    """The server answers, and refuses to help."""

    async def notify(system: System, settings: Mapping[str, str]) -> None:
        async def attempt() -> None:
            async with Redis.from_url(system.place.servers.redis_url) as client:
                try:
                    for name, value in settings.items():
                        await client.execute_command(*name.split(), *value.split())
                except RedisError as error:
                    raise OSError(str(error)) from error

        await patiently(attempt)

    async def inject(system: System, _: random.Random) -> Heal:
        await notify(system, broken)
        return lambda: notify(system, working)

    return inject


async def redis_flushed(system: System, _: random.Random) -> Heal:
    """All message ids are forgotten."""
    async with Redis.from_url(system.place.servers.redis_url) as client:
        with suppress(RedisError, OSError):
            await client.flushall()
    return nothing


async def postgres_full(system: System, _: random.Random) -> Heal:
    """The disk is full: really, where its data lies on a small one; else each write fails as it does then."""
    data = small_disk.data_of(system.stack)
    if small_disk.is_small(data):
        await asyncio.to_thread(small_disk.fill, data)

        async def heal() -> None:
            small_disk.free(data)
            await system.server("start", "postgres")

        return heal
    await _execute(system, _FULL)
    return lambda: _execute(system, _NOT_FULL)


async def postgres_restored(system: System, _: random.Random) -> Heal:
    """The audit's tables go back to what they were some seconds ago, as from a backup; its connections end."""
    kept = f"{system.place.database}_kept"
    await _execute(system, _KEEP.format(kept=kept))
    return lambda: _execute(system, _RESTORE.format(kept=kept))


_KEEP = """
    BEGIN ISOLATION LEVEL REPEATABLE READ;  -- as a backup does: all tables as they were at one moment
    DO $$ DECLARE name text; BEGIN
        EXECUTE 'CREATE SCHEMA {kept}';
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
            EXECUTE format('CREATE TABLE {kept}.%I AS TABLE %I', name, name);
        END LOOP;
    END $$;
    COMMIT;
"""
_RESTORE = """
    DO $$ DECLARE name text; names text; BEGIN
        SELECT string_agg(quote_ident(tablename), ', ') INTO names FROM pg_tables WHERE schemaname = current_schema();
        EXECUTE 'TRUNCATE ' || names || ' CASCADE';
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{kept}' LOOP
            EXECUTE format('INSERT INTO %I OVERRIDING SYSTEM VALUE TABLE {kept}.%I', name, name);
        END LOOP;
        EXECUTE 'DROP SCHEMA {kept} CASCADE';
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
            AND datname = current_database();
    END $$;
"""


_FULL = """
    CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER disk_full BEFORE INSERT OR UPDATE ON transaction_versions EXECUTE FUNCTION disk_full();
"""
_NOT_FULL = "DROP FUNCTION IF EXISTS disk_full CASCADE"


async def _execute(system: System, statement: str) -> None:
    async def attempt() -> None:
        try:
            connection = await asyncpg.connect(system.place.database_url, timeout=5)
            try:
                await connection.execute(statement)
            finally:
                await connection.close(timeout=5)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise OSError(str(error)) from error

    await patiently(attempt)


def dead_letters_refused(changes: dict[str, str]) -> Inject:
    """The dead-letter topic takes nothing, by its own settings."""

    async def inject(system: System, _: random.Random) -> Heal:
        kept = await patiently(lambda: _settings(system))
        await patiently(lambda: _alter(system, {**kept, **changes}))
        return lambda: patiently(lambda: _alter(system, kept))

    return inject


async def _settings(system: System) -> dict[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, system.place.dead_letter_topic)
    (found,) = await system.place.admin.describe_configs([resource])
    return {entry[0]: entry[1] for entry in found.resources[0][4] if entry[3] == DYNAMIC_TOPIC_CONFIG}


async def _alter(system: System, settings: dict[str, str]) -> None:
    resource = ConfigResource(ConfigResourceType.TOPIC, system.place.dead_letter_topic, settings)
    (done,) = await system.place.admin.alter_configs([resource])
    if code := done.resources[0][0]:
        raise OSError(f"the topic's settings were not taken: error {code}")


async def clock_moved(system: System, rng: random.Random) -> Heal:
    """The wall clocks of all indexers jump ahead or back, by hours, and back to the right time at the end."""
    system.clock.move(rng.choice((-1, 1)) * rng.uniform(600, FARTHEST_CLOCK))

    async def heal() -> None:
        system.clock.move(0.0)

    return heal


CLIENT_ERRORS = (KafkaError, IllegalOperation, OSError, TimeoutError)
FLOOD = 300
"""Half-sent requests to each indexer."""
REDIS_FULL = {"config set maxmemory-policy": "noeviction", "config set maxmemory": "1"}
REDIS_ROOMY = {"config set maxmemory": "0"}
REDIS_REPLICA = {"replicaof": "127.0.0.1 1"}
REDIS_MASTER = {"replicaof": "no one"}
BUSY = "es_rejected_execution_exception"
SOME_REFUSED = proxy.refusing_items(0.3, 429, BUSY)
FAULTS = [
    Fault("indexer killed", "indexers", (0.5, 3), indexer_killed),
    Fault("all indexers killed", "indexers", (0.5, 2), all_indexers_killed),
    Fault("indexer terminated", "indexers", (0.2, 2), indexer_terminated),
    Fault("indexer frozen", "indexers", (8, 12), indexer_frozen),
    Fault("rebalance storm", "group", (5, 9), rebalance_storm),
    Fault("broker restarted", "kafka", (0.1, 2), server("stop", "kafka")),
    Fault("broker killed", "kafka", (0.1, 2), server("kill", "kafka")),
    Fault("broker paused", "kafka", (3, 9), server("pause", "kafka")),
    Fault("partitions added", "topic", (0.1, 0.2), partitions_added),
    Fault("elasticsearch killed", "elasticsearch", (0.1, 4), server("kill", "elasticsearch")),
    Fault("elasticsearch paused", "elasticsearch", (4, 9), server("pause", "elasticsearch")),
    Fault("index read-only", "elasticsearch", (3, 7), index_read_only),
    Fault("slow answers", "proxy", (4, 8), between(lambda rng: proxy.sometimes(0.7, proxy.slow(rng.uniform(1, 4))))),
    Fault("answers 429", "proxy", (4, 8), between(lambda _: proxy.sometimes(0.8, proxy.refusing(429, BUSY)))),
    Fault("answers 503", "proxy", (4, 8), between(lambda _: proxy.sometimes(0.8, proxy.refusing(503, "away")))),
    Fault("partial failures", "proxy", (4, 8), between(lambda _: proxy.sometimes(0.9, SOME_REFUSED))),
    Fault("connections reset", "proxy", (4, 8), between(lambda _: proxy.sometimes(0.6, proxy.resetting))),
    Fault("connections half-closed", "proxy", (4, 8), between(lambda _: proxy.sometimes(0.6, proxy.half_closing))),
    Fault("connections silent", "proxy", (5, 9), between(lambda _: proxy.sometimes(0.5, proxy.silent))),
    Fault("redis killed", "redis", (2, 6), server("kill", "redis")),
    Fault("redis paused", "redis", (2, 6), server("pause", "redis")),
    Fault("redis flushed", "redis", (0.1, 0.2), redis_flushed),
    Fault("postgres killed", "postgres", (1, 5), server("kill", "postgres")),
    Fault("postgres paused", "postgres", (3, 8), server("pause", "postgres")),
    Fault("postgres full", "postgres", (4, 8), postgres_full),
    Fault("dead letters too large", "dead letters", (4, 8), dead_letters_refused({"max.message.bytes": "1"})),
    Fault("dead letters short of replicas", "dead letters", (4, 8), dead_letters_refused({"min.insync.replicas": "2"})),
    Fault("clock moved", "clock", (4, 9), clock_moved),
    Fault("gateway pages", "proxy", (4, 8), between(lambda _: proxy.sometimes(0.8, proxy.paging))),
    Fault("nothing but gateway pages", "proxy", (3, 6), between(lambda _: proxy.sometimes(1.0, proxy.paging))),
    Fault("index rolled over", "elasticsearch", (3, 7), rolled_over),
    Fault("transaction open", "topic", (3, 8), transaction_open),
    Fault("ports flooded", "ports", (4, 8), ports_flooded),
    Fault("redis full", "redis", (3, 7), redis_configured(REDIS_FULL, REDIS_ROOMY)),
    Fault("postgres restored", "postgres", (2, 5), postgres_restored),
    Fault("redis read-only", "redis", (3, 7), redis_configured(REDIS_REPLICA, REDIS_MASTER)),
]  # fmt: skip
BY_NAME = {fault.name: fault for fault in FAULTS}
