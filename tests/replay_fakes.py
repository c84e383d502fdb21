"""Kafka and Elasticsearch in memory, as far as a replay needs them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from activity_indexer.dead_letters.document_state import StoredDocument
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Progress, Span, Spans, Tell, narrowed
from activity_indexer.errors import Unavailable
from activity_indexer.ports import OutRecord, Partition
from activity_indexer.replay.errors import Overtaken, RecordRefused
from activity_indexer.replay.ports import Commits
from activity_indexer.replay.records import Addressed


class Killed(BaseException):
    """The process ends here."""


@dataclass
class MemoryLog:
    """Topics, groups and transactions; `generation` is of whoever has the transactional id."""

    partitions: int = 2
    topics: dict[Partition, list[StoredDeadLetter]] = field(default_factory=lambda: defaultdict(list))
    groups: dict[str, dict[Partition, tuple[int, str]]] = field(default_factory=lambda: defaultdict(dict))
    generation: int = 0
    largest: int = 1_000_000
    batch: int = 7
    commits: int = 0

    def put(self, topic: str, partition: int, record: OutRecord, timestamp: int = 1_704_110_400_000) -> Span:
        place = Partition(topic, partition)
        offset = len(self.topics[place])
        self.topics[place].append(
            StoredDeadLetter(topic, partition, offset, timestamp, record.key, record.value, tuple(record.headers))
        )
        return Span(offset, offset + 1)

    def all(self, topic: str) -> list[StoredDeadLetter]:
        return [letter for place, letters in sorted(self.topics.items()) if place.topic == topic for letter in letters]

    async def spans(self, names: Sequence[str], selection: Selection | None = None) -> dict[Partition, Span]:
        places = [Partition(name, number) for name in names for number in range(self.partitions)]
        return narrowed({place: Span(0, len(self.topics[place])) for place in places}, selection or Selection())

    async def read(self, spans: Spans, tell: Tell | None = None) -> AsyncIterator[Sequence[StoredDeadLetter]]:
        """Batches that hold records of several partitions."""
        found = [letter for place, span in spans.items() for letter in self.topics[place][span.start : span.end]]
        found.sort(key=lambda letter: (letter.offset, letter.partition))
        for at in range(0, len(found), self.batch):
            yield found[at : at + self.batch]
            if tell:
                tell(Progress(min(at + self.batch, len(found)), len(found), at))

    async def committed(self, group: str, partitions: Iterable[Partition]) -> Commits:
        return {place: self.groups[group][place] for place in partitions if place in self.groups[group]}

    def take_over(self, group: str, killed: Callable[[int], str] = lambda _: "") -> "MemoryTransactions":
        """The transactional id's next holder; `killed` tells for each commit whether it dies: `before` or `after`."""
        self.generation += 1
        return MemoryTransactions(self, group, self.generation, killed)

    @asynccontextmanager
    async def writing(self, group: str) -> AsyncIterator["MemoryTransactions"]:
        yield self.take_over(group)


@dataclass
class MemoryTransactions:
    """replay.ports.Transactions in memory."""

    log: MemoryLog
    group: str
    generation: int
    killed: Callable[[int], str]

    async def commit(self, records: Sequence[Addressed], positions: Commits) -> Spans:
        if self.generation != self.log.generation:
            raise Overtaken("another replay has taken over")
        if any(record.size > self.log.largest for record in records):
            raise RecordRefused("too large")
        self.log.commits += 1
        dies = self.killed(self.log.commits)
        if dies == "before":
            raise Killed
        written: dict[Partition, Span] = {}
        for record in records:
            place = Partition(record.topic, record.partition or 0)
            span = self.log.put(*place, record.record)
            earlier = written.get(place, span)
            written[place] = Span(min(span.start, earlier.start), max(span.end, earlier.end))
        self.log.groups[self.group] |= positions
        if dies == "after":
            raise Killed
        return written


@dataclass
class MemoryDocuments:
    """replay.ports.Documents in memory; `away` tells why it does not answer."""

    there: dict[str, int | StoredDocument] = field(default_factory=dict)
    away: str = ""

    async def states(self, identifiers: Sequence[str]) -> Mapping[str, StoredDocument]:
        if self.away:
            raise Unavailable(self.away)
        found = {each: self.there[each] for each in identifiers if each in self.there}
        return {
            each: state if isinstance(state, StoredDocument) else StoredDocument(state, deleted=False)
            for each, state in found.items()
        }


def stored(record: OutRecord, offset: int = 0, partition: int = 0, topic: str = "t.dlq") -> StoredDeadLetter:
    """A dead letter that lies somewhere."""
    return StoredDeadLetter(
        topic, partition, offset, 1_704_110_400_000, record.key, record.value, tuple(record.headers)
    )


def with_headers(letter: StoredDeadLetter, **headers: str) -> StoredDeadLetter:
    """The same dead letter with further headers; underscores stand for dashes."""
    more = tuple((name.replace("_", "-"), value.encode()) for name, value in headers.items())
    return replace(letter, headers=letter.headers + more)
