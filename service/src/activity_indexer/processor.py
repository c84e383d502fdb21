"""Takes one batch all the way: decode, dedup, enrich, index, dead-letter, settle."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import compress
from typing import NamedTuple

from activity_common.trace_context import TraceContext, trace_contexts
from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.document import live_document, tombstone, with_version
from activity_indexer.errors import EventError
from activity_indexer.event import CREATED, DELETED, MAX_TIES, UPDATED, Event, base_version
from activity_indexer.facts import Severity
from activity_indexer.indexing import Document, Result
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decode import decode_record
from activity_indexer.pipeline.dedup import Deduplicator, Known, Settled, entry_of
from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.ports import DeadLetters, Enricher, OutRecord
from activity_indexer.published import ages, published_at
from activity_indexer.reports import (
    BatchDecoded,
    BatchSettled,
    BatchStarted,
    BreakerClosed,
    BreakerOpened,
    DeadLettersWritten,
    Dependency,
    DependencyChanged,
    Emit,
    EventOutcome,
    Letter,
    StageDone,
    Written,
)
from activity_indexer.responsive import SLICE
from activity_indexer.ties import OrderedWriter
from activity_indexer.timestamps import format_timestamp
from activity_indexer.tracing import BatchTrace, Tracing, Untraced

WRITTEN = {CREATED: EventOutcome.INDEXED, UPDATED: EventOutcome.UPDATED, DELETED: EventOutcome.DELETED}
INVALID = "invalid"
SINK = frozenset({"enrich", "index"})
"""Stages whose failures may be the system's own fault; before them the event itself is invalid."""
LETTERS = 1000
"""Dead letters that are made and sent at once."""


class Chains(NamedTuple):
    """The events of a batch by transaction, by their places in it.

    `newest` are those that are written; `older` are the other events of such a transaction, by the place of the
    newest: the next newest takes its place when that is refused for good. Most transactions have no other.
    """

    newest: Sequence[int]
    older: Mapping[int, Sequence[int]]


Decoded = Callable[[Batch, Sequence[Event | None]], None]
"""Called with a batch, and for each of its records the event in it, or None."""


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
    keys: list[bytes] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    outcomes: dict[int, EventOutcome] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
    earlier: dict[int, Settled] = field(default_factory=dict)
    entries: dict[bytes, bytes] = field(default_factory=dict)
    skipped: int = 0
    looked_up: int = 0
    ages: list[float] = field(default_factory=list)
    undated: int = 0
    example: Written | None = None
    ties: Counter[str] = field(default_factory=Counter)

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
    """Processes batches, several at once; they share nothing but what is given here.

    What takes time for each event is one batch's at a time and done in slices: so heartbeats and answers wait for one
    slice, and not for one of each batch under way.
    """

    def __init__(
        self,
        deduplicator: Deduplicator | None,
        enricher: Enricher,
        writer: OrderedWriter,
        dead_letters: DeadLetters,
        breaker: Breaker,
        emit: Emit,
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
        self._emit = emit
        self._limits = limits
        self._now = now
        self._tracing = tracing or Untraced()
        self._clock = clock
        self._let_go_at = float("-inf")
        self._computing = asyncio.Lock()
        self._rereads = rereads if rereads is not None else Rereads()

    async def process(self, batch: Batch) -> None:
        """Returns when every event of the batch is settled; cancelled, it settles those that are."""
        self._emit(BatchStarted(max(0.0, self._clock() - batch.opened_at)))
        contexts = trace_contexts(batch.records)
        with self._tracing.batch(batch.records, contexts) as trace:
            await self._process(_Work(batch, contexts, trace))

    async def _process(self, work: _Work) -> None:
        started = time.perf_counter()
        try:
            with self._stage(work, "decode"):
                await self._decode(work)
            await self._skip_known(work)
            await self._index(work, _chains(work))
            await self._bury(work)
            await self._remember(work)
        finally:
            self._settle(work)
            work.trace.settled(work.outcomes, {at: failure.error.code for at, failure in work.failures.items()})
            if work.outcomes:
                self._emit(_settled(work, time.perf_counter() - started))

    @contextmanager
    def _stage(self, work: _Work, name: str) -> Iterator[None]:
        started = time.perf_counter()
        with work.trace.stage(name):
            yield
        self._emit(StageDone(name, time.perf_counter() - started))

    async def _decode(self, work: _Work) -> None:
        now = self._now()
        latest = int((now + self._limits.max_clock_skew) * 1e6)
        append, clock = work.events.append, time.perf_counter
        async with self._computing:
            until = clock() + SLICE
            for at, record in enumerate(work.batch.records):
                found = decode_record(record, latest)
                if isinstance(found, EventError):
                    append(None)
                    work.failures[at] = Failure(found, 1, now, now)
                else:
                    append(found)
                if clock() > until:
                    await asyncio.sleep(0)
                    until = clock() + SLICE
        if self._decoded is not None:
            self._decoded(work.batch, work.events)
        if self._deduplicator is not None:
            work.keys = [event.key if event else b"" for event in work.events]
        self._emit(BatchDecoded(work.events))

    async def _skip_known(self, work: _Work) -> None:
        if self._deduplicator is None:
            return
        with self._stage(work, "dedup"):
            asked = self._asked(work)
            known = await self._deduplicator.known(asked)
        work.looked_up = len(asked)
        work.known = known
        if known.memory or known.store:
            again = self._rereads and {at for at, record in enumerate(work.batch.records) if record in self._rereads}
            for at, key in enumerate(work.keys):
                if key in known and not (again and at in again) and (settled := known.get(key)):
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
        work.outcomes[at] = EventOutcome.DUPLICATE if is_copy else EventOutcome.LATE
        if not is_copy:
            work.ties["earlier"] += 1

    def _asked(self, work: _Work) -> list[bytes]:
        """Ids that are looked up; what is read again on purpose is asked of Elasticsearch."""
        if not self._rereads:
            return [key for key in work.keys if key] if work.failures else work.keys
        pairs = zip(work.keys, work.batch.records, strict=True)
        return [key for key, record in pairs if key and record not in self._rereads]

    async def _index(self, work: _Work, chains: Chains) -> None:
        """Write the newest event of each chain; when one cannot be written, the next newest takes its place."""
        while chains.newest:
            with self._stage(work, "enrich"):
                documents = await self._documents(work, chains.newest)
            try:
                with self._stage(work, "bulk"):
                    await self._writer.write(documents)
            finally:
                chains = self._take_results(work, chains, documents)

    async def _documents(self, work: _Work, places: Sequence[int]) -> list[Document]:
        """The documents of these events; one whose enrichment fails has an error."""
        now = format_timestamp(int(self._now() * 1e6)).encode()
        events, contexts, earlier, enrich = work.events, work.contexts, work.earlier, self._enricher
        documents: list[Document] = []
        append, clock = documents.append, time.perf_counter
        async with self._computing:
            until = clock() + SLICE
            for at in places:
                event = events[at]
                if event is None:  # chains are made of events
                    continue
                if event.event_type == DELETED:
                    document = Document(event.version, tombstone(event), event)
                else:
                    try:
                        enriched = enrich(event)
                    except EventError as error:
                        document = Document(event.version, b"", event, error=error.kept())
                    else:
                        context = contexts.get(at) if contexts else None
                        lines = live_document(event, enriched, now, context and context.trace_id)
                        document = Document(event.version, lines, event)
                append(_after(document, earlier[at]) if earlier and at in earlier else document)
                if clock() > until:
                    await asyncio.sleep(0)
                    until = clock() + SLICE
        return documents

    def _take_results(self, work: _Work, chains: Chains, documents: Sequence[Document]) -> Chains:
        """Note what became of documents; returns the chains whose newest event was refused, without it.

        Nearly all were written, and all of these are noted at once; each of the others by itself.
        """
        now = self._now()
        newest: list[int] = []
        older: dict[int, Sequence[int]] = {}
        places, written = chains.newest, documents
        usual = [document.result == Result.WRITTEN and not document.tied for document in documents]
        if not all(usual):
            places, written = list(compress(chains.newest, usual)), list(compress(documents, usual))
            for at, document, is_usual in zip(chains.newest, documents, usual, strict=True):
                if document.error:
                    self._fail(work, at, document.error, document, now)
                    if rest := chains.older.get(at):
                        newest.append(rest[0])
                        older[rest[0]] = rest[1:]
                elif document.result and not is_usual:
                    self._settled_otherwise(work, at, document, now)
        self._written(work, places, written, now)
        if chains.older:
            for at, document in zip(chains.newest, documents, strict=True):
                if document.result and at in chains.older:
                    self._superseded(work, chains.older[at], document.event)
        return Chains(newest, older)

    @staticmethod
    def _written(work: _Work, places: Sequence[int], documents: Sequence[Document], now: float) -> None:
        """Documents were written."""
        if not documents:
            return
        if work.failures:
            for at in places:
                work.failures.pop(at, None)
        records, keys = work.batch.records, work.keys
        work.outcomes.update(zip(places, [WRITTEN[document.event.event_type] for document in documents], strict=True))
        if keys:
            entries = [entry_of(document.event, document.version) for document in documents]
            work.entries.update(zip([keys[at] for at in places], entries, strict=True))
        timestamps = [records[at].timestamp for at in places]
        found = ages(timestamps, now)
        work.ages += found
        work.undated += len(timestamps) - len(found)
        if work.example is None:
            for document, timestamp in zip(documents, timestamps, strict=True):
                published = published_at(timestamp, now)
                if published is not None and not document.event.deleted:
                    work.example = Written(document.event.transaction.id, document.version, published)
                    break

    def _settled_otherwise(self, work: _Work, at: int, document: Document, now: float) -> None:
        """An event was known or late, or it is one of a tie."""
        result, event = document.result, document.event
        if document.tied and result != Result.DUPLICATE:
            work.ties["later" if result == Result.WRITTEN else "earlier"] += 1
        if result == Result.WRITTEN:
            self._written(work, [at], [document], now)
            return
        work.failures.pop(at, None)
        late = result != Result.DUPLICATE
        work.outcomes[at] = EventOutcome.LATE if late else EventOutcome.DUPLICATE
        if work.keys and not (late and document.tied):  # of a tie, what is known of the later event is kept
            work.entries[work.keys[at]] = entry_of(event, 0 if late else document.version)

    @staticmethod
    def _superseded(work: _Work, places: Sequence[int], newest: Event) -> None:
        """Events of a transaction are settled by a newer one of the same batch."""
        for at in places:
            event = work.event(at)
            ties = event.order.ties(newest.order)
            is_copy = ties and event.content == newest.content
            work.outcomes[at] = EventOutcome.DUPLICATE if is_copy else EventOutcome.LATE
            if ties and not is_copy:
                work.ties["earlier"] += 1
            elif not ties and work.keys:
                work.entries[work.keys[at]] = entry_of(event, 0)

    @staticmethod
    def _fail(work: _Work, at: int, error: EventError, document: Document, now: float) -> None:
        earlier = work.failures.get(at)
        work.failures[at] = Failure(
            error,
            max(1, document.attempts) + (earlier.attempts if earlier else 0),
            earlier.first_failure if earlier else document.first_failure or now,
            document.last_failure or now,
            document.event.message_id,
        )

    async def _bury(self, work: _Work) -> None:
        """Dead-letter what failed; what the sink refused waits first while it refuses most."""
        failures = work.failures
        if not failures and not self._breaker.is_open and not self._breaker.watches_types:
            self._breaker.record(work.sent, 0)
            return
        invalid = [at for at, failure in failures.items() if failure.error.stage not in SINK]
        if len(invalid) == len(failures) and not self._breaker.is_open:
            work.batch.requests_done()  # the next batch's documents do not wait for these dead letters
        await self._dead_letter(work, sorted(invalid))
        refused = failures.keys() - invalid if len(invalid) < len(failures) else set()
        if self._record(work, refused) and refused:
            with self._breaker.holding():
                await self._hold(work, refused)
        if refused:
            await self._dead_letter(work, sorted(failures.keys() - invalid))

    async def _dead_letter(self, work: _Work, places: Sequence[int]) -> None:
        """Send these to the dead-letter topic, some at a time: this many are made without a break for anything else."""
        records, failures, sent_by = work.batch.records, work.failures, work.trace.dead_letter
        for start in range(0, len(places), LETTERS):
            some = places[start : start + LETTERS]
            await self._send(work, {at: dead_letter(records[at], failures[at], sent_by(at)) for at in some})

    def _record(self, work: _Work, refused: Collection[int]) -> bool:
        """Count what reached the sink, and what it refused; returns whether the breaker is open."""
        unenriched = [at for at in refused if work.failures[at].error.stage == "enrich"]
        was_open = self._breaker.is_open
        if unenriched or self._breaker.watches_types:
            types = Counter(event.transaction.transaction_type for event in work.events if event and not event.deleted)
            failed = Counter(work.event(at).transaction.transaction_type for at in unenriched)
            self._breaker.record_enriched(types, failed)
        is_open = self._breaker.record(work.sent - len(unenriched), len(refused) - len(unenriched))
        if was_open and not is_open:
            self._emit(BreakerClosed())
        return is_open

    async def _send(self, work: _Work, letters: Mapping[int, OutRecord]) -> None:
        """Until the topic has them all. What it has is settled, also when the rest is given up."""
        attempt = 0
        while letters:
            unsent, problem = await self._dead_letters.send(list(letters.values()))
            self._emit(DependencyChanged(Dependency.DEAD_LETTERS, problem or None, Severity.BLOCKS))
            left: dict[int, OutRecord] = {}
            if unsent:
                again = set(map(id, unsent))
                left = {at: letter for at, letter in letters.items() if id(letter) in again}
            self._dead_lettered(work, [at for at in letters if at not in left])
            letters = left
            if left:
                await asyncio.sleep(self._limits.backoff.delay(attempt))
                attempt += 1

    def _dead_lettered(self, work: _Work, places: Sequence[int]) -> None:
        """Report those as one whose stage and error are the same."""
        work.outcomes.update(dict.fromkeys(places, EventOutcome.DEAD_LETTERED))
        kinds: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for at in places:
            error = work.failures[at].error
            kinds[error.stage, error.code].append(at)
        for kind, alike in kinds.items():
            self._emit(DeadLettersWritten(kind, alike, partial(_letter, work), work.trace))

    async def _hold(self, work: _Work, held: Collection[int]) -> None:
        """Wait with what failed, and try it again now and then, until it passes or it is this batch's turn to go."""
        while self._breaker.is_open and (left := [at for at in held if at in work.failures]):
            error = work.failures[left[0]].error
            self._emit(BreakerOpened(self._breaker.share, f"{error.stage} {error.code}: {error.message}"))
            await asyncio.sleep(self._limits.breaker_retry_interval)
            await self._index(work, Chains(left, {}))
            if not self._breaker.is_open:
                return
            failures = sum(at in work.failures for at in left)
            if failures < len(left) and self._breaker.bears(work.sent, failures):
                self._breaker.close()
                self._emit(BreakerClosed())
            elif self._goes(failures):
                if self._breaker.held > 1:
                    self._breaker.half_open()
                else:  # nothing is left to try, and without events nothing would close it
                    self._breaker.give_up()
                    self._emit(BreakerClosed())
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
        outcomes = work.outcomes
        if len(outcomes) == len(work.batch.records):
            work.batch.settle_all()
        else:
            work.batch.settle(list(outcomes))


def _after(document: Document, settled: Settled) -> Document:
    """The document at the version after that of an earlier tie or copy, where that is known."""
    event, known = document.event, settled.version
    if document.error or base_version(known) != event.version or known & MAX_TIES == MAX_TIES:
        return document
    is_copy = event.checksum == settled.checksum
    lines = with_version(document.lines, event.transaction.id, known + 1)
    return Document(known + 1, lines, event, is_copy=is_copy, tied=not is_copy)


def _settled(work: _Work, duration: float) -> BatchSettled:
    """What is reported of a batch."""
    return BatchSettled(
        len(work.outcomes),
        work.batch.size,
        _counted(work),
        work.looked_up,
        work.known.asked,
        len(work.known.memory),
        len(work.known.store),
        duration,
        work.ages,
        work.undated,
        work.example,
        work.ties,
    )


def _counted(work: _Work) -> Counter[tuple[EventOutcome, str]]:
    """The events by outcome and type; the outcome of one that was written says its type."""
    found = Counter(work.outcomes.values())
    counted = Counter({(outcome, each): found.pop(outcome) for each, outcome in WRITTEN.items() if outcome in found})
    if found:
        counted.update((outcome, _event_type(work, at)) for at, outcome in work.outcomes.items() if outcome in found)
    return counted


def _letter(work: _Work, at: int) -> Letter:
    return Letter(at, work.batch.records[at], work.failures[at], _event_type(work, at))


def _event_type(work: _Work, at: int) -> str:
    event = work.events[at]
    return event.event_type if event else INVALID


def _chains(work: _Work) -> Chains:
    """The events of a batch that are not settled yet, by transaction."""
    events, outcomes = work.events, work.outcomes
    places: Sequence[int] = range(len(events))
    if work.failures or outcomes:
        places = [at for at, event in enumerate(events) if event is not None and at not in outcomes]
        events = [events[at] for at in places]
    transactions = [event.transaction.id for event in events if event is not None]
    if len(set(transactions)) == len(places):
        return Chains(places, {})
    newest = dict(zip(transactions, places, strict=True))
    several: dict[str, list[int]] = {}
    for transaction, at in zip(transactions, places, strict=True):
        if (last := newest[transaction]) != at:
            several.setdefault(transaction, [last]).append(at)
    older: dict[int, Sequence[int]] = {}
    for transaction, chain in several.items():
        chain.sort(key=lambda at: work.event(at).order, reverse=True)
        newest[transaction] = chain[0]
        older[chain[0]] = chain[1:]
    return Chains(list(newest.values()), older)
