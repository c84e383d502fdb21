"""Wires the adapters; owns start, drain and stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import structlog

from activity_indexer.adapters.elasticsearch.bulk import ElasticsearchIndex
from activity_indexer.adapters.kafka.address import HttpAddress, http_address
from activity_indexer.adapters.kafka.client import prepare_topics
from activity_indexer.adapters.kafka.dead_letters.topic import DeadLetterTopic
from activity_indexer.adapters.kafka.source import GroupSource
from activity_indexer.adapters.redis.store import RedisSeenStore, seen_namespace
from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.consumer import POLL_TIMEOUT, Indexer, IntakeLimits
from activity_indexer.ending import Deadline, Ending, close_all
from activity_indexer.enrichment.registry import Registry, load_enrichments
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.freshness import Freshness
from activity_indexer.index_watch import IndexWatch
from activity_indexer.indexing import BulkWriter, Tries
from activity_indexer.pipeline.batch import Batcher
from activity_indexer.pipeline.decoded_events import DecodedEvents
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds
from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import Dependency, DependencyChanged, Subscribers
from activity_indexer.settings import Settings
from activity_indexer.status_page.page import StatusPage
from activity_indexer.telemetry.calls import Calls, MeasuredDeadLetters, MeasuredIndex, MeasuredSeen, MeasuredSource
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.http import HttpServer
from activity_indexer.telemetry.log_lines import LogLines
from activity_indexer.telemetry.loop import watch_loop
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.open_telemetry import OpenTelemetry
from activity_indexer.telemetry.problems import Problems
from activity_indexer.telemetry.progress import Progress
from activity_indexer.ties import OrderedWriter
from activity_indexer.tracing import Tracing
from activity_indexer.trial import trial_document

AUDIT: Final = "audit"
"""Name of the task that finishes what it has when the end has begun."""

AUDITING: Final = "activity_indexer.audit.run"
IMPORTED_LATER: Final = (AUDITING,)
"""Modules that take long to import, and that a start need not wait for."""

AUDIT_DELAY: Final = 2.0
"""Seconds for which the audit leaves the start to the indexer."""


class TopicMissing(Unavailable):
    """The transactions topic is not there yet."""


class App:
    """One process: the indexer, the audit beside it, and the port for health and metrics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        consumer = settings.consumer
        self.metrics = Metrics()
        self.health = Health(time.monotonic, consumer.stall_timeout)
        longest_try = consumer.backoff_max + settings.elasticsearch.request_timeout
        self.emit = Subscribers(
            self.metrics.indexer, Progress(self.health), Problems(self.health, longest_try), LogLines()
        )
        self.http_port = 0
        self._backoff = Backoff(consumer.backoff_initial, consumer.backoff_max)
        self._ending = Ending(consumer.shutdown_timeout)
        self._started = asyncio.Event()
        self._decoded = DecodedEvents(consumer.memory.decoded)
        self._seen: RedisSeenStore | None = None
        self._closers: dict[str, Callable[[], Awaitable[None]]] = {}
        self._log = structlog.get_logger("activity_indexer.app")

    def stop(self) -> None:
        """Begin the end: finish what is under way, commit, leave."""
        if not self._ending.begun:
            self._log.info("app.stopping")
            self.health.draining()
            self._ending.begin()
            self._started.set()

    async def run(self) -> None:
        """Work until a signal or `stop`. Raises only for defects, and for a port that is taken."""
        _tune_garbage_collection()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._serve()
        background = [asyncio.create_task(watch_loop(self.emit))]
        try:
            await self._index(background)
        finally:
            await self._part(background)
        self._log.info("app.stopped")

    async def _serve(self) -> None:
        consumer = self._settings.consumer
        page = StatusPage(self._settings, self.health, self.metrics) if consumer.status_page else None
        identity = {"instance": _instance(), "group": self._settings.kafka.consumer_group}
        server = HttpServer(consumer.http_host, consumer.http_port, self.health, self.metrics, page, identity)
        self.http_port = await server.start()
        self._closers["http"] = server.stop
        self._log.info("http.listening", port=self.http_port)

    async def _index(self, background: list[asyncio.Task[None]]) -> None:
        registry = load_enrichments(_names(self._settings.consumer.enrichments))
        index = ElasticsearchIndex(self._settings.elasticsearch, registry.properties)
        address = http_address(self._settings.consumer.http_host, self.http_port)
        source = GroupSource(self._settings.kafka, self.emit, address, self._settings.consumer.memory)
        self._decoded.topic_id = source.topic_id
        telemetry = OpenTelemetry(self._settings, self.emit, self.metrics.registry)
        freshness = Freshness(index, self.emit, self._settings.consumer.freshness_interval)
        self.emit.add(freshness)
        self._closers |= {"elasticsearch": index.stop, "kafka": source.stop}
        self._closers |= {"telemetry": telemetry.stop, "freshness": freshness.stop}
        calls = Calls(self.emit, telemetry.indexer())
        alias = self._settings.elasticsearch.index
        watch = IndexWatch(index, MeasuredIndex(index, calls, alias), alias, self.emit)
        preparing = asyncio.gather(
            self._until_topics(background, lambda: self._audit(telemetry.audit(), address)),
            self._until(Dependency.ELASTICSEARCH, watch.prepare),
        )
        deduplicator = None
        if self._settings.consumer.enable_dedup:
            deduplicator = self._deduplicator(index, watch, calls)
            background.append(asyncio.create_task(deduplicator.watch()))
        indexer = self._indexer(deduplicator, watch, source, registry, calls)
        if not all(await preparing):
            return
        background.append(asyncio.create_task(watch.run()))
        if not await self._until(Dependency.KAFKA, lambda: source.start(indexer)):
            return
        self._started.set()
        give_back_memory()
        self.health.started()
        self._log.info("app.started", topic=self._settings.kafka.transactions_topic)
        await self._work(indexer, background)

    async def _until_topics(
        self, background: list[asyncio.Task[None]], audit: Callable[[], Coroutine[Any, Any, None]]
    ) -> bool:
        """Prepare the topics, then start the audit: a client's question may create a topic that is not there yet."""
        found = await self._until(Dependency.KAFKA, self._prepare_topics)
        if found and self._settings.consumer.enable_audit_db:
            background.append(asyncio.create_task(audit(), name=AUDIT))
        return found

    async def _audit(self, tracing: Tracing, address: HttpAddress | None) -> None:
        """The audit; it begins when the indexer has started, or waits for a server."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AUDIT_DELAY):
                await self._started.wait()
        auditing = await _imported(AUDITING)
        await auditing.run_audit(
            settings=self._settings,
            metrics=self.metrics,
            health=self.health,
            ending=self._ending,
            tracing=tracing,
            decoded=self._decoded,
            address=address,
        )

    async def _work(self, indexer: Indexer, background: list[asyncio.Task[None]]) -> None:
        working = asyncio.create_task(indexer.run())
        ended = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({working, ended, *background}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            self.stop()
            await _conclude(indexer, working, self._ending.deadline)
        if working.done() and not working.cancelled():
            working.result()

    async def _part(self, background: list[asyncio.Task[None]]) -> None:
        self.stop()
        await close_all(self._closers, self._ending.deadline)
        await _finish(background, self._ending.deadline)

    def _indexer(
        self,
        deduplicator: Deduplicator | None,
        watch: IndexWatch,
        source: GroupSource,
        registry: Registry,
        calls: Calls,
    ) -> Indexer:
        consumer = self._settings.consumer
        limit = AdaptiveLimit(consumer.max_in_flight, consumer.latency_target, time.monotonic)
        breaker = Breaker(consumer.breaker_threshold, consumer.breaker_window, consumer.breaker_min_failures)
        dead_letters = DeadLetterTopic(self._settings.kafka, emit=self.emit)
        self._closers["dead letters"] = dead_letters.stop
        rereads = Rereads(self._seen)
        tries = Tries(consumer.max_retries, consumer.push_back_tries, consumer.push_back_timeout)
        writer = BulkWriter(watch, limit, self._backoff, self.emit, tries, trial=trial_document(registry))
        processor = Processor(
            deduplicator,
            registry,
            OrderedWriter(writer, watch, self._backoff, self.emit),
            MeasuredDeadLetters(dead_letters, calls, self._settings.kafka.dead_letters),
            breaker,
            self.emit,
            Limits(consumer.max_clock_skew, consumer.breaker_retry_interval, self._backoff),
            tracing=calls.tracing,
            rereads=rereads,
            decoded=self._decoded.keep if consumer.enable_audit_db else None,
        )
        return Indexer(
            MeasuredSource(source, calls),
            Batcher(
                consumer.batch_size,
                consumer.batch_bytes,
                consumer.batch_timeout,
                time.monotonic,
                consumer.request_events,
            ),
            processor.process,
            lambda: limit.limit + min(writer.alone, consumer.max_in_flight),
            breaker,
            self.emit,
            IntakeLimits(
                consumer.fetch_max_records,
                consumer.commit_interval,
                consumer.shutdown_timeout,
                memory=consumer.memory.intake,
            ),
            sink=watch,
            rereads=rereads,
        )

    def _deduplicator(self, index: ElasticsearchIndex, watch: IndexWatch, calls: Calls) -> Deduplicator:
        consumer = self._settings.consumer
        group, ttl = self._settings.kafka.consumer_group, consumer.dedup_ttl
        store = RedisSeenStore(
            self._settings.redis,
            ttl,
            lambda: seen_namespace(group, watch.namespace),
            lambda: min(ttl, index.remembers),
        )
        self._seen = store
        self._closers["redis"] = store.stop
        return Deduplicator(
            RecentIds(consumer.dedup_memory_size),
            MeasuredSeen(store, calls),
            self._settings.redis.retry_interval,
            time.monotonic,
            self.emit,
            store.namespace,
            store.lifetime,
            watch.rely,
            self._settings.redis.timeout,
        )

    async def _prepare_topics(self) -> None:
        kafka = self._settings.kafka
        if await prepare_topics(kafka) is None:
            raise TopicMissing(
                f"topic {kafka.transactions_topic} does not exist: create it, or let KAFKA_TOPIC_PARTITIONS create it"
            )

    async def _until(self, server: Dependency, attempt: Callable[[], Awaitable[Any]]) -> bool:
        """Try until it passes, as servers may come up later than the indexer; False when the end came first."""
        tries = 0
        while not self._ending.begun:
            try:
                if await self._unless_stopping(attempt()):
                    self.emit(DependencyChanged(server))
                    return True
            except (Unavailable, Refused) as error:
                self.emit(DependencyChanged(server, str(error), starting=True))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._backoff.delay(tries)):
                        await self._ending.wait()
                tries += 1
        return False

    async def _unless_stopping(self, attempt: Awaitable[Any]) -> bool:
        """Whether the attempt came to its end; the end of the program does not wait for it."""
        trying = asyncio.ensure_future(attempt)
        ended = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({trying, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            if trying.cancel():
                await asyncio.wait({trying}, timeout=self._ending.deadline.to_commit)
        if trying.cancelled() or not trying.done():
            return False
        trying.result()
        return True


async def _imported(module: str) -> Any:
    """A module that takes long to import: in a thread, so that the servers' answers are handled meanwhile."""
    return await asyncio.to_thread(import_module, module)


def _instance() -> str:
    """The pod or container; on a machine with several indexers, the process, too."""
    return socket.gethostname() if os.getpid() == 1 else f"{socket.gethostname()}/{os.getpid()}"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def give_back_memory() -> None:
    """Give the system what was needed for a moment, such as for imports: glibc keeps it for later."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _tune_garbage_collection() -> None:
    """Records of a batch live together and die together: the young generation may be large, start-up objects stay."""
    gc.enable()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


async def _conclude(indexer: Indexer, working: asyncio.Task[None], deadline: Deadline) -> None:
    """The intake has a moment to end by itself; then what it took in is finished and committed."""
    indexer.stop()
    await asyncio.wait({working}, timeout=min(2 * POLL_TIMEOUT, deadline.to_finish))
    if working.cancel():
        await asyncio.wait({working}, timeout=deadline.to_commit)
    await indexer.drain(deadline)


async def _finish(tasks: list[asyncio.Task[None]], deadline: Deadline) -> None:
    """The audit ends by itself when the end has begun; what only watches is cancelled."""
    for task in tasks:
        if task.get_name() != AUDIT:
            task.cancel()
    _, running = await asyncio.wait(tasks, timeout=deadline.left())
    for task in running:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):  # a defect must not pass for a clean end
            raise result


def run(settings: Settings) -> None:
    """Run an indexer until a signal ends it, on uvloop where it can be had."""

    async def main() -> None:
        await App(settings).run()

    runner: Coroutine[Any, Any, None] = main()
    with asyncio.Runner(loop_factory=_loop_factory()) as loop:
        loop.run(runner)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not to be had on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
