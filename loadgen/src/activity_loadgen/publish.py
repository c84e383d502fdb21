"""Sends events to Kafka, as fast as it takes them or at a given rate, and reports every acknowledgement."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from activity_loadgen.generate import Event
from activity_loadgen.kafka import CONNECT_TIMEOUT_MS, KafkaConnection, Say, ensure_topic, has_brokers_time
from activity_loadgen.ledger import Entry, Sink, entry_for
from activity_loadgen.spans import NoSpans, Spans
from activity_loadgen.stopping import unless_stopped

MAX_REQUEST_BYTES: Final = 1_048_576
BATCH_BYTES: Final = 262_144
LINGER_MS: Final = 5
MAX_UNACKNOWLEDGED: Final = 20_000
# Sending seldom suspends by itself: give the loop a turn this often.
EVENTS_PER_TURN: Final = 64
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
    is how long Kafka may be away at the start, and how long it may acknowledge nothing later.
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

    def add(self, entry: Entry, size: int, seconds: float) -> None:
        """Count an acknowledged event."""
        self.acknowledged += 1
        self.bytes += size
        self.seconds = seconds
        self.kinds[entry.kind, entry.delivery] += 1
        self.transactions += entry.kind == "created" and entry.delivery != "duplicate"


async def publish(
    events: Iterable[Event],
    run: str,
    connection: KafkaConnection,
    options: PublishOptions,
    *,
    on_ack: Sink = lambda _: None,
    on_progress: Callable[[PublishCounts], None] = lambda _: None,
    say: Say = lambda _: None,
    stop: asyncio.Event | None = None,
    spans: Spans | None = None,
) -> PublishCounts:
    """Send the events in order and wait for all acknowledgements; `stop` ends it early, in good order.

    `on_ack` gets every acknowledged event's ledger entry, in the order of the acknowledgements; `spans` is told too.

    Raises:
        KafkaUnavailableError: Kafka was away at the start.
        PublishError: Kafka refused an event, or acknowledged nothing for `options.wait` seconds.
    """
    stop = stop or asyncio.Event()
    await unless_stopped(stop, ensure_topic(connection, options.topic, options.partitions, wait=options.wait, say=say))
    if stop.is_set():
        return PublishCounts()
    brokers_time = await has_brokers_time(connection, options.topic)
    async with _producer(connection) as producer:
        sending = _Sending(producer, run, options, on_ack, spans or NoSpans(), brokers_time=brokers_time)
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
        on_ack: Sink,
        spans: Spans,
        *,
        brokers_time: bool,
    ) -> None:
        self.counts = PublishCounts()
        self._producer = producer
        self._run = run
        self._options = options
        self._on_ack = on_ack
        self._spans = spans
        self._brokers_time = brokers_time
        self._started = self._moved = time.monotonic()
        self._room = asyncio.Event()
        self._failure: str | None = None

    async def send_all(self, events: Iterable[Event], stop: asyncio.Event) -> None:
        topic = self._options.topic
        for event in events:
            if stop.is_set() or self._failure is not None or not await self._turn(stop):
                break
            started = time.time_ns()
            future = await self._producer.send(
                topic, event.value, event.key, timestamp_ms=started // 1_000_000, headers=[*event.headers]
            )
            self.counts.sent += 1
            future.add_done_callback(partial(self._settle, event, started))
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
            left = f"{self.counts.acknowledged} events acknowledged, {self._unacknowledged} not"
            raise PublishError(f"{self._failure}; {left}", self.counts)

    @property
    def _unacknowledged(self) -> int:
        return self.counts.sent - self.counts.acknowledged - self.counts.failed

    async def _turn(self, stop: asyncio.Event) -> bool:
        """Wait for this event's turn; False when the time is over."""
        sent, options = self.counts.sent, self._options
        elapsed = time.monotonic() - self._started
        if options.duration is not None and elapsed >= options.duration:
            return False
        if options.rate is not None:
            ahead = sent / options.rate - elapsed
            if ahead > PACE_SLACK_SECONDS:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), ahead)
        elif sent % EVENTS_PER_TURN == 0:
            await asyncio.sleep(0)
        while self._unacknowledged >= MAX_UNACKNOWLEDGED and self._failure is None:
            await self._wait_for_room()
        return not stop.is_set()

    async def _wait_for_room(self) -> None:
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), POLL_SECONDS)

    def _settle(self, event: Event, started: int, done: asyncio.Future[RecordMetadata]) -> None:
        now = time.monotonic()
        self._moved = now
        self._room.set()
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            self.counts.failed += 1
            self._failure = self._failure or f"Kafka refused an event: {error!r}"
            return
        record = done.result()
        position = (record.partition, record.offset)
        ended = time.time_ns()
        self._spans.sent(event, record, started, ended)
        # Otherwise the client's answer is that of the whole batch, or of the broker's when it was sent twice.
        published = record.timestamp if self._brokers_time else started // 1_000_000
        entry = entry_for(self._run, record.topic, event, position, ended // 1000, published)
        self.counts.add(entry, len(event.value or b""), now - self._started)
        self._on_ack(entry)


@contextlib.asynccontextmanager
async def _producer(connection: KafkaConnection) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **connection.client_arguments(),
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        max_batch_size=BATCH_BYTES,
        max_request_size=MAX_REQUEST_BYTES,
        linger_ms=LINGER_MS,
    )
    try:
        await producer.start()
        yield producer
    finally:
        # An idempotent producer flushes for as long as Kafka is away; we have already waited.
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), STOP_SECONDS)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
