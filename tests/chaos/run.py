"""One seed from end to end: servers, indexers, load, faults, healing, rest, check."""

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from chaos.clock import Clock
from chaos.collect import collect
from chaos.fleet import Fleet
from chaos.ledger import Ledger
from chaos.outcome import Outcome
from chaos.proxy import Proxy
from chaos.schedule import Plan, Step
from chaos.system import System, patiently
from chaos.watch import UNAVAILABLE, Watch, committed_offsets
from checker.check import check
from checker.history import History
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_loadgen.generate import Event as Sent
from activity_loadgen.generate import generate
from activity_loadgen.invalid import HOSTILE_KINDS, INVALID_KINDS
from activity_loadgen.kafka import KafkaConnection, KafkaUnavailableError
from activity_loadgen.options import LoadOptions, Timestamps
from activity_loadgen.publish import PublishError, PublishOptions, publish
from activity_stack import Stack

VARIABLES = {
    "CONSUMER_ENABLE_AUDIT_DB": "true",
    "CONSUMER_BATCH_SIZE": "200",
    "CONSUMER_COMMIT_INTERVAL": "0.3",
    "CONSUMER_SHUTDOWN_TIMEOUT": "5",
    "KAFKA_REBALANCE_TIMEOUT": "10",
    "KAFKA_REQUEST_TIMEOUT": "8",
    "ELASTICSEARCH_REQUEST_TIMEOUT": "5",
    "DATABASE_TIMEOUT": "5",
    "REDIS_RETRY_INTERVAL": "1",
}
"""The indexers' limits, shorter than usual, so that a fault of some seconds is a long one."""

KINDS = (*INVALID_KINDS, *(kind for kind in HOSTILE_KINDS if kind != "repeated_id"))
"""A repeated id is refused by Elasticsearch alone: the audit, which asks no other store, has such an event."""

EVENTS_PER_PRODUCER = 2500
"""Then another producer goes on: it knows of new partitions."""


@dataclass(frozen=True)
class Load:
    """About `events` events at `rate` a second; then the indexers have `recovery` seconds to come to rest."""

    events: int = 20_000
    rate: float = 800.0
    recovery: float = 120.0

    @property
    def duration(self) -> float:
        """Seconds of load."""
        return self.events / self.rate

    def sent(self, seed: int) -> Iterator[Sent]:
        """The events: half of the transactions with whole seconds, where most updates tie, half with nanoseconds."""
        units: tuple[Timestamps, ...] = ("seconds", "nanoseconds")
        for events in zip_longest(*(generate(self.options(seed, unit)) for unit in units)):
            yield from (event for event in events if event is not None)

    def options(self, seed: int, timestamps: Timestamps = "seconds") -> LoadOptions:
        """What the load generator is asked for: all that may happen to a transaction, for half of the load."""
        mix = LoadOptions(
            count=1,
            update_ratio=0.7,
            delete_ratio=0.15,
            duplicate_ratio=0.15,
            tie_ratio=0.3,
            scatter_ratio=0.1,
            timestamps=timestamps,
            late_ratio=0.1,
            invalid_ratio=0.02,
            invalid_kinds=KINDS,
            traceparent_ratio=0.2,
            users=200,
            user_skew=0.7,
            rate=self.rate / 2,
            seed=seed,
        )
        values = {name: getattr(mix, name) for name in mix.__slots__}
        return LoadOptions(**{**values, "count": max(1, round(self.events / 2 / mix.events_per_transaction))})


async def run(stack: Stack, plan: Plan, load: Load, folder: Path) -> Outcome:
    """Run a plan, and say what came of it. The stack's servers run before and after."""
    began = time.monotonic()
    async with _system(stack, plan, folder) as system:
        ledger = Ledger()
        async with Watch.over(system.place, ledger) as watch:
            system.began = time.monotonic()
            recovery = await _disturb(system, plan, load, ledger, watch)
        for process in list(system.fleet.running):
            await asyncio.to_thread(system.fleet.terminate, process)
        system.fleet.look_into_logs()
        faults = [f"seed {plan.seed}", *system.notes]
        history = await collect(system.place, ledger, watch.observations, faults)
        report = check(history)
        return Outcome(
            seed=plan.seed,
            faults=plan.names,
            indexers=plan.indexers,
            events=len(history.acknowledged),
            unacknowledged=len(history.events) - len(history.acknowledged),
            observations=len(history.observations),
            redelivered=max(0, system.fleet.settled() - len(history.acknowledged)),
            dead_letters=len(history.dead_letters),
            repeated_dead_letters=report.repeated_dead_letters,
            anomalies=dict(report.counts),
            ties=ties(history),
            problems=system.fleet.problems,
            recovery=recovery,
            slowest_end=system.fleet.slowest_end,
            largest_bytes=system.fleet.largest_bytes,
            duration=time.monotonic() - began,
            notes=system.notes,
            witnesses=str(report) if report.anomalies else "",
        )


def ties(history: History) -> int:
    """Acknowledged events that have timestamp and rank of another one of their transaction, and other content."""
    groups: dict[tuple[object, ...], set[bytes | None]] = defaultdict(set)
    for event in history.acknowledged:
        if event.order:
            groups[event.transaction_id, event.order.timestamp, event.order.rank].add(event.value)
    return sum(len(values) - 1 for values in groups.values())


@asynccontextmanager
async def _system(stack: Stack, plan: Plan, folder: Path) -> AsyncIterator[System]:
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    clock = Clock(folder / "clock")
    command = clock.command if "clock moved" in plan.names else None
    async with (
        Place.on(Servers(stack), plan.partitions) as place,
        Proxy.before(place.servers.elasticsearch_url, plan.seed) as proxy,
    ):
        fleet = Fleet(place, folder, {**VARIABLES, "ELASTICSEARCH_URL": proxy.url}, command)
        try:
            for _ in range(plan.indexers):
                fleet.start()
            for process in fleet.running:
                await process.ready()
            yield System(stack, place, fleet, proxy, clock)
        finally:
            await asyncio.to_thread(fleet.end)


async def _disturb(system: System, plan: Plan, load: Load, ledger: Ledger, watch: Watch) -> float:
    """Load and faults at once, then rest; the seconds from the last healing until all was done."""
    watching = asyncio.create_task(watch.run())
    guarding = asyncio.create_task(_guard(system.fleet))
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_publish(system, load, plan.seed, ledger))
            for step in plan.steps:
                both.create_task(_act(system, step))
        system.note("all is healed and all is sent")
        recovery = await _rest(system, load.recovery)
    finally:
        for task in (watching, guarding):
            task.cancel()
        await asyncio.gather(watching, guarding, return_exceptions=True)
    system.fleet.look()
    await watch.try_to_look()
    return recovery


async def _act(system: System, step: Step) -> None:
    await asyncio.sleep(step.begins)
    async with system.touching[step.fault.touches]:
        system.note(f"{step.fault.name}, for {step.lasts:g} s")
        heal = await step.fault.inject(system, random.Random(step.seed))  # noqa: S311 - reproducible, not secret
        await asyncio.sleep(step.lasts)
        await heal()
        system.note(f"{step.fault.name}: healed")


async def _guard(fleet: Fleet) -> None:
    while True:
        fleet.look()
        await asyncio.sleep(0.5)


async def _publish(system: System, load: Load, seed: int, ledger: Ledger) -> None:
    """Send everything; when Kafka is unavailable too long, what was under way may be there or not; the next go on."""
    options = load.options(seed)
    left = load.sent(seed)
    connection = KafkaConnection(system.place.servers.kafka)
    sending = PublishOptions(system.place.name, rate=load.rate, wait=load.recovery)
    while some := list(itertools.islice(left, EVENTS_PER_PRODUCER)):
        try:
            await publish(_each(ledger, some), options.run, connection, sending, on_ack=ledger.acknowledge)
        except (PublishError, KafkaUnavailableError) as error:
            system.note(f"publishing: {error}")


def _each(ledger: Ledger, events: list[Sent]) -> Iterator[Sent]:
    return ledger.sending(events)


async def _rest(system: System, limit: float) -> float:
    """Wait until both groups have committed everything."""
    began = time.monotonic()
    place = system.place

    async def left() -> int:
        with suppress(*UNAVAILABLE):
            async with asyncio.timeout(10):
                return await lag(place, place.group) + await lag(place, f"{place.group}.audit")
        return -1

    try:
        await eventually(left, 0, limit, every=0.2)
    except AssertionError as error:
        system.fleet.problems.append(f"no rest: {error}")
    return time.monotonic() - began


async def lag(place: Place, group: str) -> int:
    """Events of the place's topic that the group has not committed."""
    ends = await patiently(lambda: _ends(place))
    committed = await committed_offsets(place, group)
    return sum(end - committed.get((place.name, number), 0) for number, end in ends.items())


async def _ends(place: Place) -> dict[int, int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=place.servers.kafka)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(place.name, number) for number in range(place.partitions)])
    finally:
        await consumer.stop()
    return {key.partition: end for key, end in ends.items()}
