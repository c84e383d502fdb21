"""What a rebuild takes over beside the events: the ids of the traces that they belong to."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from fixtures.audit import value
from fixtures.memory.stores import MemoryIndex
from fixtures.records import enriched

from activity_indexer.adapters.elasticsearch.index_versions import State
from activity_indexer.adapters.kafka.topic_reader import TopicReader
from activity_indexer.adapters.postgres.audit_reader import Kept
from activity_indexer.event import Event
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.reconcile.compare import Difference, Kind
from activity_indexer.reconcile.repair import DONE, Repairer
from activity_indexer.reindex.fill import Filler, kept_traces
from activity_indexer.rewrite.writer import ANY_TIME, Rewriter
from activity_indexer.settings import load_settings

TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = [("traceparent", b"00-%b-00f067aa0ba902b7-01" % TRACE)]


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    topic: str = "transactions"
    partition: int = 0
    key: bytes | None = None
    timestamp: int = 0


@dataclass
class Topic:
    records: Sequence[Record]

    async def read(self, *_: Any) -> AsyncIterator[Sequence[Record]]:
        yield self.records


@dataclass
class Old:
    """The index that is rebuilt, by id and version; `asked` are the ids it was asked for."""

    traces: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def trace_ids(self, ids: Sequence[str]) -> dict[tuple[str, int], bytes]:
        self.asked += ids
        return {key: trace_id for key, trace_id in self.traces.items() if key[0] in ids}

    async def these(self, _: Sequence[str]) -> dict[str, Any]:
        return {}


@dataclass
class Audit:
    kept: Sequence[Kept]
    rejected: Sequence[Kept] = ()

    async def states(self, _: str) -> AsyncIterator[Sequence[Kept]]:
        yield self.kept

    async def all_rejected(self) -> AsyncIterator[Sequence[Kept]]:
        if self.rejected:
            yield self.rejected

    async def these(self, ids: Sequence[str]) -> dict[str, Kept]:
        return {each.id: each for each in self.kept if each.id in ids}


@pytest.fixture
def index() -> MemoryIndex:
    return MemoryIndex()


def rewriter(index: MemoryIndex) -> Rewriter:
    return Rewriter(index, lambda _: enriched(ran=False), load_settings().consumer, lambda _: None)


def filler(index: MemoryIndex, records: Sequence[Record] = ()) -> Filler:
    return Filler(rewriter(index), cast("TopicReader", Topic(records)), State("topic"), ANY_TIME / 1e6, lambda _: None)


def found(index: MemoryIndex) -> dict[str, Any]:
    return {key: msgspec.json.decode(stored.source).get("_trace_id") for key, stored in index.documents.items()}


def decoded(identifier: str) -> Event:
    return decode_event(value(identifier), ANY_TIME)


def kept(identifier: str) -> Kept:
    event = decoded(identifier)
    return Kept(identifier, event.version, False, event.body, "u", event.event_type, event.timestamp)


async def test_from_the_topic_each_event_brings_its_own_trace_id_past_those_that_are_no_events(
    index: MemoryIndex,
) -> None:
    records = [Record(0, b"no event", HEADERS), Record(1, value("a")), Record(2, value("b"), HEADERS)]
    await filler(index, records).from_topic({0: 3})
    assert found(index) == {"a": None, "b": TRACE.decode()}


async def test_from_the_audit_the_old_index_brings_the_trace_ids_of_the_same_versions(index: MemoryIndex) -> None:
    version = decoded("a").version
    old = Old({("a", version): TRACE, ("b", version - 1): TRACE, ("c", version): TRACE})
    audit = Audit([kept("a"), kept("b")], [kept("c")])
    await filler(index).from_audit(cast("Any", audit), cast("Any", old))
    assert found(index) == {"a": TRACE.decode(), "b": None, "c": TRACE.decode()}


async def test_a_repair_leaves_the_trace_id_of_the_same_version_and_gives_that_of_no_other(index: MemoryIndex) -> None:
    version = decoded("a").version
    old = Old({("a", version): TRACE, ("b", version - 1): TRACE})
    audit = Audit([kept("a"), kept("b"), kept("c")])
    anything = cast("Any", index)
    repairer = Repairer(cast("Any", audit), cast("Any", old), rewriter(index), anything, cast("Any", None))
    differences = [
        Difference(Kind.DIFFERENT, "a", version, version),
        Difference(Kind.OLDER, "b", version, version - 1),
        Difference(Kind.MISSING, "c", version, None),
    ]
    assert {repair.outcome for repair in await repairer.write(differences)} == {DONE}
    assert found(index) == {"a": TRACE.decode(), "b": None, "c": None}


async def test_tombstones_have_no_trace_and_are_not_asked_for(index: MemoryIndex) -> None:
    deleted = decode_event(value("a", kind="deleted"), ANY_TIME)
    old = Old()
    assert await kept_traces(cast("Any", old), [decoded("b"), deleted]) == {}
    assert old.asked == ["b"]
