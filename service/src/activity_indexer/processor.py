"""Takes one batch all the way: decode, dedup, enrich, index, dead-letter, settle."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.document import live_document, tombstone, with_version
from activity_indexer.errors import EventError
from activity_indexer.event import CREATED, DELETED, MAX_TIES, UPDATED, Event, base_version
from activity_indexer.indexing import Document, Result
from activity_indexer.observer import BatchSummary, Observer, Written
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decode import decode_record
from activity_indexer.pipeline.dedup import Deduplicator, Known, Settled, entry_of
from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.ports import DeadLetters, Enricher, OutRecord, Record
from activity_indexer.published import published_at
from activity_indexer.ties import OrderedWriter
from activity_indexer.timestamps import format_timestamp
from activity_indexer.trace_context import TraceContext, trace_contexts
from activity_indexer.tracing import BatchTrace, Tracing, Untraced

WRITTEN = {CREATED: "indexed", UPDATED: "updated", DELETED: "deleted"}
SINK = frozenset({"enrich", "index"})
"""Stages whose failures may be the system's own fault; before them the event itself is invalid."""
Decoded = Callable[[Sequence[Record], Sequence[Event | None], int], None]
"""Called with the records of a batch, what they hold, and the bytes of the records."""
Chain = list[int]
"""Events of one transaction in one batch, by their place in it, the newest first."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_clock_skew` and `breaker_retry_interval` are in seconds."""

    max_clock_skew: float
    breaker_retry_interval: float
    backoff: Backoff


@dataclass(slots=True)
class _Work:
    """A batch and what is known of its events so far, by their place in it.

    `earlier` has those that were settled before at an earlier position, `entries` is what the deduplicator is to keep.
    """

    batch: Batch
    contexts: Mapping[int, TraceContext]
    trace: BatchTrace
    events: list[Event | None] = field(default_factory=list)
    message_ids: list[str] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
    earlier: dict[int, Settled] = field(default_factory=dict)
    entries: dict[str, bytes] = field(default_factory=dict)
    skipped: int = 0
    summary: BatchSummary = field(init=False)

    def __post_init__(self) -> None:
        self.summary = BatchSummary(len(self.batch.records), self.batch.size)

    @property
    def sent(self) -> int:
        """Valid events that were not known already."""
        invalid = sum(event is None for event in self.events) if self.failures else 0
        return len(self.batch.records) - invalid - self.skipped

    def event(self, at: int) -> Event:
        event = self.events[at]
        if event is None:
            raise LookupError(f"record {at} of the batch holds no event")
        return event


class Processor:
    """Processes batches, several at once; they share nothing but what is given here."""

    def __init__(
        self,
        deduplicator: Deduplicator | None,
        enricher: Enricher,
        writer: OrderedWriter,
        dead_letters: DeadLetters,
        breaker: Breaker,
        observer: Observer,
        limits: Limits,
        now: Callable[[], float] = time.time,
        tracing: Tracing | None = None,
        clock: Callable[[], float] = time.monotonic,
        rereads: Rereads | None = None,
        decoded: Decoded | None = None,
    ) -> None:
        self._decoded = decoded
        self._deduplicator = deduplicator
        self._enricher = enricher
        self._writer = writer
        self._dead_letters = dead_letters
        self._breaker = breaker
        self._observer = observer
        self._limits = limits
        self._now = now
        self._tracing = tracing or Untraced()
        self._clock = clock
        self._let_go_at = float("-inf")
        self._rereads = rereads if rereads is not None else Rereads()

    async def process(self, batch: Batch) -> None:
        """Returns when every event of the batch is settled; cancelled, it settles those that are."""
        self._observer.batch_started(max(0.0, self._clock() - batch.opened_at))
        contexts = trace_contexts(batch.records)
        with self._tracing.batch(batch.records, contexts) as trace:
            await self._process(_Work(batch, contexts, trace))

    async def _process(self, work: _Work) -> None:
        started = time.perf_counter()
        try:
            with self._stage(work, "decode"):
                self._decode(work)
            await self._skip_known(work)
            await self._index(work, _chains(work))
            await self._bury(work)
            await self._remember(work)
        finally:
            self._settle(work)
            work.trace.settled(work.outcomes, {at: failure.error.code for at, failure in work.failures.items()})
            work.summary.duration = time.perf_counter() - started
            if work.outcomes:
                self._observer.batch_done(work.summary)

    @contextmanager
    def _stage(self, work: _Work, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with work.trace.stage(name):
            yield
        self._observer.stage_done(name, time.perf_counter() - started)

    def _decode(self, work: _Work) -> None:
        latest = int((self._now() + self._limits.max_clock_skew) * 1e6)
        append = work.events.append
        for at, record in enumerate(work.batch.records):
            found = decode_record(record, latest)
            if isinstance(found, EventError):
                append(None)
                self._fail(work, at, found)
            else:
                append(found)
        if self._decoded is not None:
            self._decoded(work.batch.records, work.events, work.batch.size + work.batch.extra)
        if self._deduplicator is not None:
            work.message_ids = [event.message_id if event else "" for event in work.events]
        if self._observer.debug:
            for event in filter(None, work.events):
                self._observer.event_decoded(event)

    async def _skip_known(self, work: _Work) -> None:
        if self._deduplicator is None:
            return
        with self._stage(work, "dedup"):
            asked = self._asked(work)
            known = await self._deduplicator.known(asked)
        work.summary.looked_up = len(asked)
        work.known = known
        work.summary.known_in_memory = len(known.memory)
        work.summary.known_in_store = len(known.store)
        if known.memory or known.store:
            again = self._rereads and {at for at, record in enumerate(work.batch.records) if record in self._rereads}
            for at, message_id in enumerate(work.message_ids):
                if message_id in known and not (again and at in again) and (settled := known.get(message_id)):
                    self._compare(work, at, settled)
            work.skipped = len(work.outcomes)

    @staticmethod
    def _compare(work: _Work, at: int, settled: Settled) -> None:
        """Skip an event that was settled at its position or a later one."""
        event = work.event(at)
        if event.position > settled.position:
            work.earlier[at] = settled
            return
        is_copy = event.checksum == settled.checksum
        work.outcomes[at] = Result.DUPLICATE if is_copy else Result.LATE
        if not is_copy:
            work.summary.ties["earlier"] += 1

    def _asked(self, work: _Work) -> list[str]:
        """Ids that are looked up; what is read again on purpose is asked of Elasticsearch."""
        if not self._rereads:
            return [message_id for message_id in work.message_ids if message_id]
        pairs = zip(work.message_ids, work.batch.records, strict=True)
        return [message_id for message_id, record in pairs if message_id and record not in self._rereads]

    async def _index(self, work: _Work, chains: list[Chain]) -> None:
        """Write the newest event of each chain; when one cannot be written, the next newest takes its place."""
        while chains:
            with self._stage(work, "enrich"):
                documents = self._documents(work, chains)
            try:
                with self._stage(work, "bulk"):
                    await self._writer.write([document for document in documents if not document.settled])
            finally:
                chains = self._take_results(work, chains, documents)

    def _documents(self, work: _Work, chains: Sequence[Chain]) -> list[Document]:
        now = format_timestamp(int(self._now() * 1e6)).encode()
        return [self._document(work, chain[0], now) for chain in chains]

    def _document(self, work: _Work, at: int, now: bytes) -> Document:
        event = work.event(at)
        if event.deleted:
            return _versioned(event, tombstone(event), work.earlier.get(at))
        try:
            enriched = self._enricher(event)
        except EventError as error:
            return Document(event.version, b"", event, error=error.kept())
        context = work.contexts.get(at)
        lines = live_document(event, enriched, now, context.trace_id if context else None)
        return _versioned(event, lines, work.earlier.get(at))

    def _take_results(self, work: _Work, chains: list[Chain], documents: Sequence[Document]) -> list[Chain]:
        left: list[Chain] = []
        now = self._now()
        for chain, document in zip(chains, documents, strict=True):
            if document.error:
                self._fail(work, chain[0], document.error, document)
                if len(chain) > 1:
                    left.append(chain[1:])
            elif document.result:
                self._written(work, chain, document, now)
        return left

    @staticmethod
    def _written(work: _Work, chain: Chain, document: Document, now: float) -> None:
        at, newest, result, summary = chain[0], document.event, document.result, work.summary
        if work.failures:
            work.failures.pop(at, None)
        if document.tied and result != Result.DUPLICATE:
            summary.ties["later" if result == Result.WRITTEN else "earlier"] += 1
        late = result == Result.LATE
        if work.message_ids and not (late and document.tied):  # of a tie, what is known of the later event is kept
            work.entries[work.message_ids[at]] = entry_of(newest, 0 if late else document.version)
        if result == Result.WRITTEN:
            work.outcomes[at] = WRITTEN[newest.event_type]
            published = published_at(work.batch.records[at].timestamp, now)
            if published is None:
                summary.undated += 1
            else:
                summary.ages.append(now - published)
                if summary.example is None and not newest.deleted:
                    summary.example = Written(newest.transaction.id, document.version, published)
        else:
            work.outcomes[at] = result or Result.LATE
        for at in chain[1:]:
            event = work.event(at)
            ties = event.order.ties(newest.order)
            is_copy = ties and event.content == newest.content
            work.outcomes[at] = Result.DUPLICATE if is_copy else Result.LATE
            if ties and not is_copy:
                work.summary.ties["earlier"] += 1
            elif not ties and work.message_ids:
                work.entries[work.message_ids[at]] = entry_of(event, 0)

    def _fail(self, work: _Work, at: int, error: EventError, document: Document | None = None) -> None:
        now = self._now()
        event = work.events[at]
        earlier = work.failures.get(at)
        attempts = max(1, document.attempts) if document else 1
        first_failure = (document and document.first_failure) or now
        work.failures[at] = Failure(
            error,
            attempts + earlier.attempts if earlier else attempts,
            earlier.first_failure if earlier else first_failure,
            (document and document.last_failure) or now,
            event.message_id if event else None,
        )

    async def _bury(self, work: _Work) -> None:
        """Dead-letter what failed; what the sink refused waits first while it refuses most."""
        if not work.failures and not self._breaker.is_open and not self._breaker.watches_types:
            self._breaker.record(work.sent, 0)
            return
        invalid = {at for at, failure in work.failures.items() if failure.error.stage not in SINK}
        await self._dead_letter(work, sorted(invalid))
        if self._record(work) and (held := work.failures.keys() - invalid):
            with self._breaker.holding():
                await self._hold(work, held)
        await self._dead_letter(work, sorted(work.failures.keys() - invalid))

    async def _dead_letter(self, work: _Work, places: Sequence[int]) -> None:
        if not places:
            return
        records = work.batch.records
        await self._send([dead_letter(records[at], work.failures[at], work.trace.dead_letter(at)) for at in places])
        for at in places:
            work.outcomes[at] = "dead_lettered"
            with work.trace.event(at):
                self._observer.dead_lettered(records[at], work.failures[at], _event_type(work, at))

    def _record(self, work: _Work) -> bool:
        """Count what reached the sink; returns whether the breaker is open."""
        failed = Counter(failure.error.stage for failure in work.failures.values())
        was_open = self._breaker.is_open
        if failed["enrich"] or self._breaker.watches_types:
            types = Counter(event.transaction.transaction_type for event in work.events if event and not event.deleted)
            self._breaker.record_enriched(
                types,
                Counter(
                    work.event(at).transaction.transaction_type
                    for at, failure in work.failures.items()
                    if failure.error.stage == "enrich"
                ),
            )
        is_open = self._breaker.record(work.sent - failed["enrich"], failed["index"])
        if was_open and not is_open:
            self._observer.breaker_closed()
        return is_open

    async def _send(self, records: Sequence[OutRecord]) -> None:
        attempt = 0
        while True:
            records, problem = await self._dead_letters.send(records)
            self._observer.dead_letter_topic(problem or None)
            if not records:
                return
            await asyncio.sleep(self._limits.backoff.delay(attempt))
            attempt += 1

    async def _hold(self, work: _Work, held: Collection[int]) -> None:
        """Wait with what failed, and try it again now and then, until it passes or it is this batch's turn to go."""
        while self._breaker.is_open and (left := [at for at in held if at in work.failures]):
            error = work.failures[left[0]].error
            self._observer.breaker_opened(self._breaker.share, f"{error.stage} {error.code}: {error.message}")
            await asyncio.sleep(self._limits.breaker_retry_interval)
            await self._index(work, [[at] for at in left])
            if not self._breaker.is_open:
                return
            failures = sum(at in work.failures for at in left)
            if failures < len(left) and self._breaker.bears(work.sent, failures):
                self._breaker.close()
                self._observer.breaker_closed()
            elif self._goes(failures):
                if self._breaker.held > 1:
                    self._breaker.half_open()
                else:  # nothing is left to try, and without events nothing would close it
                    self._breaker.give_up()
                    self._observer.breaker_closed()
                return

    def _goes(self, failures: int) -> bool:
        """Whether a held batch goes to the dead letters, so that one more is tried: one in each interval."""
        now = self._clock()
        if not failures or now - self._let_go_at < self._limits.breaker_retry_interval:
            return False
        self._let_go_at = now
        return True

    async def _remember(self, work: _Work) -> None:
        """Mark what is safe and not marked yet, but never a dead letter: its replay would be taken for a duplicate."""
        if self._deduplicator is None:
            return
        with self._stage(work, "settle"):
            await self._deduplicator.mark(work.entries, work.known.namespace)

    def _settle(self, work: _Work) -> None:
        if len(work.outcomes) == len(work.batch.records):
            work.batch.settle_all()
        else:
            work.batch.settle(list(work.outcomes))
            work.summary.events = len(work.outcomes)
        for at, outcome in work.outcomes.items():
            work.summary.outcomes[outcome, _event_type(work, at)] += 1


def _versioned(event: Event, lines: bytes, settled: Settled | None) -> Document:
    """The document, at the version after that of an earlier tie or copy, where that is known."""
    known = settled.version if settled else 0
    if settled is None or base_version(known) != event.version or known & MAX_TIES == MAX_TIES:
        return Document(event.version, lines, event)
    is_copy = event.checksum == settled.checksum
    lines = with_version(lines, event.transaction.id, known + 1)
    return Document(known + 1, lines, event, is_copy=is_copy, tied=not is_copy)


def _event_type(work: _Work, at: int) -> str:
    event = work.events[at]
    return event.event_type if event else "invalid"


def _chains(work: _Work) -> list[Chain]:
    chains: dict[str, Chain] = {}
    for at, event in enumerate(work.events):
        if event is not None and at not in work.outcomes:
            chain = chains.get(event.transaction.id)
            if chain is None:
                chains[event.transaction.id] = [at]
            else:
                chain.append(at)
    found = list(chains.values())
    for chain in found:
        if len(chain) > 1:
            chain.sort(key=lambda at: work.event(at).order, reverse=True)
    return found
