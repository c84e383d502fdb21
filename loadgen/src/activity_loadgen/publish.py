"""Sends events to Kafka, as fast as it takes them or at a given rate, and reports every acknowledgement."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from activity_loadgen.generate import Event
from activity_loadgen.kafka import CONNECT_TIMEOUT_MS, KafkaConnection, Say, ensure_topic, has_brokers_time
from activity_loadgen.ledger import Sink, entry_for
from activity_loadgen.outbox import Gathered, Outbox
from activity_loadgen.spans import Spans
from activity_loadgen.stopping import unless_stopped

MAX_REQUEST_BYTES: Final = 1_048_576
BATCH_BYTES: Final = 262_144
# How long an event waits for others of its partition: at a given rate, and at full speed, when batches fill up.
LINGER_SECONDS: Final = 0.005
GATHER_SECONDS: Final = 0.05
MAX_UNACKNOWLEDGED: Final = 20_000
EVENTS_PER_TURN: Final = 250
PACE_SLACK_SECONDS: Final = 0.002
POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 3.0


class PublishError(Exception):
    """Kafka stopped acknowledging; `counts` says how far we came."""

    def __init__(self, message: str, counts: "PublishCounts") -> None:
        super().__init__(message)
        self.counts = counts


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Where to, how fast and for how long.

    `rate` in events per second (None: as fast as Kafka takes them), `duration` and `wait` in seconds; `wait`
    is how long Kafka may be unreachable at the start, and how long it may acknowledge nothing later.
    """

    topic: str = "transactions"
    partitions: int = 6
    rate: float | None = None
    duration: float | None = None
    wait: float = 60.0


@dataclass(slots=True)
class PublishCounts:
    """What was sent and acknowledged so far; `kinds` counts by (kind, delivery), `seconds` since the first."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    transactions: int = 0

    @property
    def rate(self) -> float:
        """Events acknowledged per second."""
        return self.acknowledged / self.seconds if self.seconds > 0 else 0.0

    def add(self, events: Sequence[Event], seconds: float) -> None:
        """Count events that were acknowledged together."""
        self.acknowledged += len(events)
        self.bytes += sum([len(event.value or b"") for event in events])
        self.seconds = seconds
        found = Counter([(event.kind, event.delivery) for event in events])
        self.kinds.update(found)
        self.transactions += found["created", "normal"] + found["created", "late"]


async def publish(
    events: Iterable[Event],
    run: str,
    connection: KafkaConnection,
    options: PublishOptions,
    *,
    on_ack: Sink | None = None,
    on_progress: Callable[[PublishCounts], None] = lambda _: None,
    say: Say = lambda _: None,
    stop: asyncio.Event | None = None,
    spans: Spans | None = None,
) -> PublishCounts:
    """Send the events in order and wait for all acknowledgements; `stop` ends it early, in good order.

    `on_ack` gets the ledger entry of every acknowledged event, in the order of the acknowledgements; `spans` gets the
    events.

    Raises:
        KafkaUnavailableError: Kafka was unreachable at the start.
        PublishError: Kafka refused an event, or acknowledged nothing for `options.wait` seconds.
    """
    stop = stop or asyncio.Event()
    await unless_stopped(stop, ensure_topic(connection, options.topic, options.partitions, wait=options.wait, say=say))
    if stop.is_set():
        return PublishCounts()
    brokers_time = await has_brokers_time(connection, options.topic)
    async with _producer(connection) as producer:
        sending = _Sending(producer, run, options, on_ack, spans, brokers_time=brokers_time)
        watch = asyncio.create_task(sending.watch(on_progress, say))
        work = asyncio.create_task(sending.send_all(events, stop))
        try:
            await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
            sending.raise_failure()
            await work
        finally:
            await _cancel(watch, work)
    on_progress(sending.counts)
    return sending.counts


class _Sending:
    """The state of one run: what is under way, what came back, and whether it still moves."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        run: str,
        options: PublishOptions,
        on_ack: Sink | None,
        spans: Spans | None,
        *,
        brokers_time: bool,
    ) -> None:
        self.counts = PublishCounts()
        self._outbox = Outbox(producer, options.topic, self._settle)
        self._run = run
        self._options = options
        self._on_ack = on_ack
        self._spans = spans
        self._brokers_time = brokers_time
        self._started = self._moved = time.monotonic()
        self._room = asyncio.Event()
        self._failure: str | None = None

    async def send_all(self, events: Iterable[Event], stop: asyncio.Event) -> None:
        """Send the events, a few in each turn of the event loop, and wait until all are acknowledged."""
        source = iter(events)
        while turn := await self._turn(stop):
            before = self._outbox.taken
            await self._outbox.add(islice(source, turn), time.time_ns())
            self.counts.sent = self._outbox.taken
            if self.counts.sent - before < turn:
                break
        await self._outbox.flush()
        while self._unacknowledged and self._failure is None:
            await self._wait_for_room()

    async def watch(self, on_progress: Callable[[PublishCounts], None], say: Say) -> None:
        """Report progress, and end when something failed or nothing has moved for too long."""
        silent = False
        while self._failure is None:
            await asyncio.sleep(POLL_SECONDS)
            on_progress(self.counts)
            still = time.monotonic() - self._moved if self._unacknowledged else 0.0
            if still > self._options.wait:
                self._failure = f"Kafka acknowledged nothing for {self._options.wait:g} s"
            if still > CONNECT_TIMEOUT_MS / 1000 and not silent:
                say(f"Kafka has acknowledged nothing for {still:.0f} s (giving up at {self._options.wait:g} s)")
            silent = still > CONNECT_TIMEOUT_MS / 1000

    def raise_failure(self) -> None:
        if self._failure is not None:
            self.counts.sent = self._outbox.taken
            left = f"{self.counts.acknowledged} events acknowledged, {self._unacknowledged} not"
            raise PublishError(f"{self._failure}; {left}", self.counts)

    @property
    def _unacknowledged(self) -> int:
        return self._outbox.taken - self.counts.acknowledged - self.counts.failed

    async def _turn(self, stop: asyncio.Event) -> int:
        """Wait until events may be sent, and return how many; 0 when it is time to end."""
        while self._unacknowledged >= MAX_UNACKNOWLEDGED and self._failure is None:
            await self._outbox.flush()
            await self._wait_for_room()
        rate = self._options.rate
        turn = EVENTS_PER_TURN if rate is None else await self._due(rate, stop)
        if self._outbox.age > (GATHER_SECONDS if rate is None else LINGER_SECONDS):
            await self._outbox.flush()
        await asyncio.sleep(0)  # sending seldom suspends by itself
        late = self._options.duration is not None and time.monotonic() - self._started >= self._options.duration
        return 0 if late or stop.is_set() or self._failure is not None else turn

    async def _due(self, rate: float, stop: asyncio.Event) -> int:
        """Wait until at least one event is due at this rate, and return how many are."""
        sent = self.counts.sent
        ahead = sent / rate - (time.monotonic() - self._started)
        if ahead > PACE_SLACK_SECONDS:
            if self._outbox.age + ahead > LINGER_SECONDS:
                await self._outbox.flush()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ahead)
        due = int((time.monotonic() - self._started + PACE_SLACK_SECONDS) * rate) + 1 - sent
        return max(1, min(due, EVENTS_PER_TURN))

    async def _wait_for_room(self) -> None:
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), POLL_SECONDS)

    def _settle(self, gathered: Gathered, done: asyncio.Future[RecordMetadata]) -> None:
        """Take note of a batch's acknowledgement, or of its failure."""
        now, ended = time.monotonic(), time.time_ns()
        self._moved = now
        self._room.set()
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            self.counts.failed += len(gathered.events)
            self._failure = self._failure or f"Kafka refused an event: {error!r}"
            return
        first = done.result()
        self.counts.add(gathered.events, now - self._started)
        if self._spans is None and self._on_ack is None:
            return
        for offset, (event, started) in enumerate(zip(gathered.events, gathered.started, strict=True), first.offset):
            if self._spans is not None:
                self._spans.sent(event, first._replace(offset=offset), started, ended)
            if self._on_ack is not None:
                # Otherwise the client's answer is that of the whole batch, or of the broker's when it was sent twice.
                published = first.timestamp if self._brokers_time else started // 1_000_000
                position = (first.partition, offset)
                self._on_ack(entry_for(self._run, first.topic, event, position, ended // 1000, published))


@contextlib.asynccontextmanager
async def _producer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **connection.client_arguments(),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
    )
    try:
        await producer.start()
        yield producer
    finally:
        # An idempotent producer flushes for as long as Kafka is unreachable; we have already waited.
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), STOP_SECONDS)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
