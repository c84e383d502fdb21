"""Sends what is decided, together with the read position: all of a chunk in one transaction, or nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from msgspec.structs import replace as changed

from activity_common.replay_result import Counters
from activity_indexer.dead_letters.spans import Span
from activity_indexer.positions import Partition
from activity_indexer.replay.checkpoint import Checkpoint, PartitionCheckpoint
from activity_indexer.replay.decide import AHEAD, Decider, Decision, Fate, decided
from activity_indexer.replay.options import CHUNK_SECONDS, ReplayOptions
from activity_indexer.replay.ports import Letters, RecordRefused, Transactions
from activity_indexer.replay.records import Addressed

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Bytes that a transaction writes; a larger record goes alone."""

T = TypeVar("T")


@dataclass(slots=True)
class Chunk:
    """What goes into one transaction."""

    decisions: list[Decision] = field(default_factory=list)
    records: list[Addressed] = field(default_factory=list)
    sent: int = 0
    size: int = 0

    @classmethod
    def of(cls, decisions: Iterable[Decision]) -> Chunk:
        """All of these."""
        chunk = cls()
        for decision in decisions:
            chunk.add(decision)
        return chunk

    def add(self, decision: Decision) -> None:
        """Take one more."""
        self.decisions.append(decision)
        if decision.made is not None:
            self.sent += decision.fate is Fate.SENT
            record = decision.made()
            self.records.append(record)
            self.size += record.size


class Sender:
    """One run of a replay, from a checkpoint on; `written` is where all that it wrote lies."""

    def __init__(
        self,
        options: ReplayOptions,
        *,
        letters: Letters,
        transactions: Transactions,
        decider: Decider,
        stopping: asyncio.Event,
    ) -> None:
        self._options = options
        self._letters = letters
        self._transactions = transactions
        self._decider = decider
        self._stopping = stopping
        self._due: float | None = None
        self.written: dict[Partition, Span] = {}

    async def begin(self, at: Checkpoint) -> None:
        """Keep where the replay begins and ends, before anything is sent."""
        await self._transactions.commit((), at.commits(at.partitions))

    async def run(self, at: Checkpoint, notify: Callable[[Checkpoint], None]) -> Checkpoint:
        """Go on to the end, until `max_sent` is reached, or until it is stopped; returns how far that is.

        Raises Overtaken, Unavailable or Refused; what was committed before stays.
        """
        if self.enough(at):
            return at
        reading = self._letters.read({place: span for place, span in at.left.items() if span.length})
        # with a rate, nothing is decided long before it is sent
        paced = self._options.rate is not None
        coming = decided(self._decider.decide, reading, 0 if paced else AHEAD)
        async with aclosing(coming if paced else _ahead(coming)) as batches:
            async for decisions in batches:
                for chunk in self._chunks(decisions):
                    affordable = self._affordable(chunk, at)
                    at = await self._write(affordable, at)
                    notify(at)
                    if self.enough(at):
                        return at
                    await self._keep_rate(affordable.sent)
                    if self._stopping.is_set():
                        return at
        return await self._close(at)

    def enough(self, at: Checkpoint) -> bool:
        """Whether `max_sent` is reached."""
        return self._options.max_sent is not None and at.counters.sent >= self._options.max_sent

    def _chunks(self, decisions: Sequence[Decision]) -> Iterator[Chunk]:
        chunk = Chunk()
        for decision in decisions:
            full = len(chunk.records) >= self._options.chunk_records or chunk.size >= CHUNK_BYTES
            if full and decision.made is not None:
                yield chunk
                chunk = Chunk()
            chunk.add(decision)
        if chunk.decisions:
            yield chunk

    def _affordable(self, chunk: Chunk, at: Checkpoint) -> Chunk:
        """The chunk, cut before what is above `max_sent`."""
        budget = chunk.sent if self._options.max_sent is None else self._options.max_sent - at.counters.sent
        if chunk.sent <= budget:
            return chunk
        kept = Chunk()
        for decision in chunk.decisions:
            if decision.fate is Fate.SENT and kept.sent >= budget:
                break
            kept.add(decision)
        return kept

    async def _write(self, chunk: Chunk, at: Checkpoint) -> Checkpoint:
        """Write it; when a record is too large for its topic, by halves, and only that one is refused."""
        if not chunk.decisions:
            return at
        after = advanced(at, chunk.decisions)
        moved = [place for place, each in after.partitions.items() if each != at.partitions[place]]
        try:
            written = await self._transactions.commit(chunk.records, after.commits(moved))
        except RecordRefused as error:
            if len(chunk.decisions) == 1:
                refused = changed(chunk.decisions[0], fate=Fate.REFUSED, made=None, reason=str(error))
                return await self._write(Chunk.of([refused]), at)
            middle = len(chunk.decisions) // 2  # nothing was written: sizes are checked before
            for half in (chunk.decisions[:middle], chunk.decisions[middle:]):
                at = await self._write(Chunk.of(half), at)
            return at
        for place, span in written.items():
            before = self.written.get(place, span)
            self.written[place] = Span(min(span.start, before.start), max(span.end, before.end))
        return after

    async def _keep_rate(self, sent: int) -> None:
        if self._options.rate is None or not sent:
            return
        now = time.monotonic()
        self._due = (now if self._due is None else max(self._due, now - CHUNK_SECONDS)) + sent / self._options.rate
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), max(0.0, self._due - now))

    async def _close(self, at: Checkpoint) -> Checkpoint:
        """Pass what holds no records, up to the end."""
        left = {
            place: replace(each, offset=each.end) for place, each in at.partitions.items() if each.offset < each.end
        }
        after = replace(at, partitions={**at.partitions, **left})
        if left:
            await self._transactions.commit((), after.commits(left))
        return after


async def _ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The same, each made while the one before it is worked on: a transaction is mostly waiting for brokers."""
    async with aclosing(source):
        coming = asyncio.ensure_future(_next(source))
        try:
            while found := await coming:
                coming = asyncio.ensure_future(_next(source))
                yield found[0]
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _next(source: AsyncGenerator[T, None]) -> tuple[T] | None:
    async for each in source:
        return (each,)
    return None


def advanced(at: Checkpoint, decisions: Sequence[Decision]) -> Checkpoint:
    """The checkpoint after these decisions; those of a partition are in order."""
    partitions = dict(at.partitions)
    fates: defaultdict[Partition, Counter[str]] = defaultdict(Counter)
    last: dict[Partition, int] = {}
    for decision in decisions:
        letter = decision.letter
        place = Partition(letter.topic, letter.partition)
        fates[place][decision.fate] += 1
        last[place] = letter.offset
    for place, counted in fates.items():
        counters = partitions[place].counters + Counters(read=counted.total(), **counted)
        partitions[place] = PartitionCheckpoint(last[place] + 1, partitions[place].end, counters)
    return replace(at, partitions=partitions)
