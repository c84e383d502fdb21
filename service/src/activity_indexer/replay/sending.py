"""The replay itself: read, decide, and write what goes back together with the read position."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from activity_common.replay_result import Counters
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.spans import Span
from activity_indexer.ports import Partition
from activity_indexer.replay.decide import Decider, Decision, Fate
from activity_indexer.replay.errors import RecordRefused
from activity_indexer.replay.ports import Letters, Transactions
from activity_indexer.replay.progress import Position, Standing, metadata
from activity_indexer.replay.records import Addressed

CHUNK_RECORDS: Final = 1000
"""Records that a transaction writes at most."""

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Bytes that a transaction writes; a larger record goes alone."""

CHUNK_SECONDS: Final = 1.0
"""With a rate, a transaction writes what may be sent in so many seconds: an even flow."""

WRITTEN: Final = (Fate.SENT, Fate.PARKED)
T = TypeVar("T")
Tell = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate` is in events per second, None: as fast as it goes; `max_sent` ends the replay."""

    rate: float | None = None
    max_sent: int | None = None

    @property
    def chunk(self) -> int:
        """Records of one transaction."""
        return CHUNK_RECORDS if self.rate is None else max(1, min(CHUNK_RECORDS, int(self.rate * CHUNK_SECONDS)))


@dataclass(slots=True)
class Chunk:
    """What goes into one transaction."""

    decisions: list[Decision] = field(default_factory=list)
    records: list[Addressed] = field(default_factory=list)
    sent: int = 0
    size: int = 0

    def add(self, decision: Decision) -> None:
        """Take one more."""
        self.decisions.append(decision)
        self.sent += decision.fate is Fate.SENT
        if decision.made is not None and decision.fate in WRITTEN:
            record = decision.made()
            self.records.append(record)
            self.size += record.size


class Engine:
    """One run of a replay, from a standing on; `written` is where all that it wrote lies."""

    def __init__(
        self,
        letters: Letters,
        transactions: Transactions,
        decider: Decider,
        pace: Pace,
        stopping: asyncio.Event,
        believed: Callable[[], int],
    ) -> None:
        self._letters = letters
        self._transactions = transactions
        self._decider = decider
        self._pace = pace
        self._stopping = stopping
        self._believed = believed
        self._due: float | None = None
        self.written: dict[Partition, Span] = {}

    async def begin(self, standing: Standing) -> None:
        """Keep where the replay begins and ends, before anything is sent."""
        await self._transactions.commit((), _commits(standing, standing.positions))

    async def run(self, standing: Standing, tell: Tell) -> Standing:
        """Go on to the end, until `max_sent` is reached, or until it is stopped; returns how far that is.

        Raises Overtaken, Unavailable or Refused; what was committed before stays.
        """
        spans = {place: Span(position.offset, position.end) for place, position in standing.positions.items()}
        reading = self._letters.read({place: span for place, span in spans.items() if span.length})
        if self.enough(standing):
            return standing
        decided = self._decided(reading)
        async with aclosing(decided if self._pace.rate else _ahead(decided)) as coming:
            async for decisions in coming:
                for chunk in self._chunks(decisions):
                    affordable = self._affordable(chunk, standing)
                    standing = await self._write(affordable, standing)
                    tell(standing)
                    if self.enough(standing):
                        return standing
                    await self._wait(affordable.sent)
                    if self._stopping.is_set():
                        return standing
        return await self._close(standing)

    async def _decided(
        self, reading: AsyncIterator[Sequence[StoredDeadLetter]]
    ) -> AsyncGenerator[list[Decision], None]:
        async for letters in reading:
            yield await self._decider.decide(letters, self._believed())

    def _chunks(self, decisions: Sequence[Decision]) -> Iterator[Chunk]:
        chunk = Chunk()
        for decision in decisions:
            if decision.fate in WRITTEN and (len(chunk.records) >= self._pace.chunk or chunk.size >= CHUNK_BYTES):
                yield chunk
                chunk = Chunk()
            chunk.add(decision)
        if chunk.decisions:
            yield chunk

    def _affordable(self, chunk: Chunk, standing: Standing) -> Chunk:
        """The chunk, cut before what is above `max_sent`."""
        budget = chunk.sent if self._pace.max_sent is None else self._pace.max_sent - standing.counters.sent
        if chunk.sent <= budget:
            return chunk
        kept = Chunk()
        for decision in chunk.decisions:
            if decision.fate is Fate.SENT and kept.sent >= budget:
                break
            kept.add(decision)
        return kept

    def enough(self, standing: Standing) -> bool:
        """Whether `max_sent` is reached."""
        return self._pace.max_sent is not None and standing.counters.sent >= self._pace.max_sent

    async def _write(self, chunk: Chunk, standing: Standing) -> Standing:
        if not chunk.decisions:
            return standing
        after = advanced(standing, chunk.decisions)
        changed = {
            place: position for place, position in after.positions.items() if position != standing.positions[place]
        }
        try:
            written = await self._transactions.commit(chunk.records, _commits(after, changed))
        except RecordRefused as error:
            return await self._write_singly(chunk, standing, str(error))
        for place, span in written.items():
            self.written[place] = joined(span, self.written.get(place, span))
        return after

    async def _write_singly(self, chunk: Chunk, standing: Standing, reason: str) -> Standing:
        """One of them is too large for its topic: only that one is refused."""
        if len(chunk.decisions) == 1:
            refused = replace(chunk.decisions[0], fate=Fate.REFUSED, made=None, reason=reason)
            return await self._write(Chunk([refused]), standing)
        for decision in chunk.decisions:
            single = Chunk()
            single.add(decision)
            standing = await self._write(single, standing)
        return standing

    async def _wait(self, sent: int) -> None:
        """Keep the rate."""
        if self._pace.rate is None or not sent:
            return
        now = time.monotonic()
        self._due = (now if self._due is None else max(self._due, now - CHUNK_SECONDS)) + sent / self._pace.rate
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), max(0.0, self._due - now))

    async def _close(self, standing: Standing) -> Standing:
        """Pass what holds no records, up to the end."""
        left = {
            place: replace(each, offset=each.end)
            for place, each in standing.positions.items()
            if each.offset < each.end
        }
        if left:
            await self._transactions.commit((), _commits(standing, left))
        return replace(standing, positions={**standing.positions, **left})


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


def advanced(standing: Standing, decisions: Sequence[Decision]) -> Standing:
    """The standing behind these decisions; those of a partition are in order."""
    positions = dict(standing.positions)
    fates: defaultdict[Partition, Counter[str]] = defaultdict(Counter)
    last: dict[Partition, int] = {}
    for decision in decisions:
        place = Partition(decision.letter.topic, decision.letter.partition)
        fates[place][decision.fate.value] += 1
        last[place] = decision.letter.offset
    for place, counted in fates.items():
        counters = positions[place].counters + Counters(read=counted.total(), **counted)
        positions[place] = Position(last[place] + 1, positions[place].end, counters)
    return replace(standing, positions=positions)


def joined(one: Span, other: Span) -> Span:
    """The least span that holds both."""
    return Span(min(one.start, other.start), max(one.end, other.end))


def _commits(standing: Standing, positions: Mapping[Partition, Position]) -> dict[Partition, tuple[int, str]]:
    return {
        place: (position.offset, metadata(position, standing.fingerprint, standing.begun))
        for place, position in positions.items()
    }
