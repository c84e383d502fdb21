"""Of events that share a version the latest one stays, whatever the order, number and interleaving of deliveries."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from fixtures.clock import Clock
from fixtures.emitted import Emitted
from fixtures.events import CREATED, DELETED, NOW, UPDATED, encoded, event
from fixtures.memory.stores import MemoryDeadLetters, MemoryIndex, MemorySeen
from fixtures.records import Reported, enriched
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.document import order_of
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.event import MAX_TIES, UNKNOWN_POSITION, Event, base_version
from activity_indexer.facts import Severity
from activity_indexer.indexing import BulkWriter
from activity_indexer.origin import position_of
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds, entry_of
from activity_indexer.ports import BulkReply, Stored
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import BatchSettled
from activity_indexer.ties import OrderedWriter

pytestmark = pytest.mark.simulated_time

FAST = Backoff(0.0001, 0.0002)
LATEST = 2**60


def tie(offset: int = 0, partition: int = 0, second: str = "00", kind: str = UPDATED, **fields: Any) -> Reported:
    """A record whose timestamp is as late as its offset."""
    value = encoded(event("a", kind, f"2024-01-01T12:00:{second}Z", **fields))
    return Reported(value, offset, partition, timestamp=int(NOW * 1000) + offset)


@dataclass
class Indexer:
    """One indexer on servers that it may share with others."""

    index: MemoryIndex = field(default_factory=MemoryIndex)
    store: MemorySeen = field(default_factory=MemorySeen)
    letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    emitted: Emitted = field(default_factory=Emitted)
    dedup: bool = True

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        writer = BulkWriter(self.index, AdaptiveLimit(4, 60.0, loop.time), FAST, self.emitted, 1, Clock(NOW))
        seen = Deduplicator(RecentIds(1000), self.store, 5.0, loop.time, self.emitted)
        self.processor = Processor(
            seen if self.dedup else None,
            lambda found: enriched({"user": found.transaction.user_id}, found.transaction.status),
            OrderedWriter(writer, self.index, FAST, self.emitted),
            self.letters,
            Breaker(1.0, 100, 10),
            self.emitted,
            Limits(10**9, 0.001, FAST),
            Clock(NOW),
        )

    async def process(self, *records: Reported) -> None:
        async with asyncio.timeout(5):
            await self.processor.process(Batch(0.0, list(records)))

    def body(self, identifier: str = "a") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.index.documents[identifier].source)
        return found

    @property
    def ties(self) -> dict[str, int]:
        return {
            result: sum(batch.ties.get(result, 0) for batch in self.emitted.of(BatchSettled))
            for result in ("later", "earlier")
        }


DEDUP = pytest.mark.parametrize("dedup", [True, False])


@DEDUP
async def test_the_later_of_two_events_with_one_timestamp_stays(dedup: bool) -> None:
    found = Indexer(dedup=dedup)
    await found.process(tie(0, status="processing"))
    await found.process(tie(1, status="completed", amount=99))
    assert (found.body()["status"], found.body()["amount"]) == ("completed", 99)
    assert found.emitted.outcomes == {"updated": 2}
    assert found.ties == {"later": 1, "earlier": 0}
    assert found.index.documents["a"].version == base_version(found.index.documents["a"].version) + 1


@DEDUP
async def test_the_earlier_of_two_is_late_when_it_comes_second(dedup: bool) -> None:
    found = Indexer(dedup=dedup)
    await found.process(tie(1, status="completed"))
    await found.process(tie(0, status="processing"))
    assert found.body()["status"] == "completed"
    assert found.emitted.outcomes == {"updated": 1, "late": 1}
    assert found.ties == {"later": 0, "earlier": 1}


async def test_ties_in_one_batch_are_one_document_and_are_counted() -> None:
    found = Indexer()
    await found.process(tie(0, status="one"), tie(2, status="two"), tie(1, status="three"), tie(3, status="two"))
    assert (found.body()["status"], found.emitted.outcomes) == ("two", {"updated": 1, "late": 2, "duplicate": 1})
    assert found.ties == {"later": 0, "earlier": 2}
    assert (len(found.index.requests), found.index.reads) == (1, [])


@DEDUP
async def test_digits_below_the_microsecond_decide_before_the_position(dedup: bool) -> None:
    found = Indexer(dedup=dedup)
    await found.process(tie(5, second="00.123456100", status="earlier"))
    await found.process(tie(1, second="00.123456900", status="later"))
    await found.process(tie(9, second="00.123456800", status="between"))
    assert (found.body()["status"], found.body()["_updated_at"]) == ("later", "2024-01-01T12:00:00.123456900Z")
    assert found.ties == {"later": 0, "earlier": 0}, "their timestamps differ"


@DEDUP
async def test_at_one_nanosecond_the_rank_decides_before_the_position(dedup: bool) -> None:
    found = Indexer(dedup=dedup)
    await found.process(tie(0, second="00.000000001", kind=DELETED))
    await found.process(tie(7, second="00.000000001", kind=CREATED))
    assert "_deleted_at" in found.body()


@DEDUP
@pytest.mark.parametrize("kind", [UPDATED, DELETED])
async def test_the_corrected_user_of_a_transaction_stays_though_another_partition_has_it(
    dedup: bool, kind: str
) -> None:
    found = Indexer(dedup=dedup)
    await found.process(tie(3, 1, kind=kind, user_id="right"))
    await found.process(tie(2, 0, kind=kind, user_id="wrong"))
    assert found.body()["user_id"] == "right"
    assert found.ties == {"later": 0, "earlier": 1}


async def test_a_copy_after_a_tie_wins_also_where_the_cache_knows_its_first_delivery() -> None:
    """Two indexers, a partition each: what one remembers of the first copy hides no tie of the other."""
    one = Indexer()
    other = Indexer(one.index, MemorySeen())
    await one.process(tie(0, 0, status="x"))
    await other.process(tie(1, 1, status="y"))
    await one.process(tie(2, 0, status="x"))
    assert one.body()["status"] == "x"
    await other.process(tie(1, 1, status="y"))
    assert one.body()["status"] == "x"


async def test_a_copy_raises_the_position_so_that_a_tie_before_it_is_late() -> None:
    one = Indexer()
    other = Indexer(one.index, MemorySeen())
    await one.process(tie(0, 0, status="x"))
    await one.process(tie(2, 0, status="x"))
    await other.process(tie(1, 1, status="y"))
    assert one.body()["status"] == "x"
    assert (one.emitted.outcomes, other.emitted.outcomes) == ({"updated": 1, "duplicate": 1}, {"late": 1})


async def test_a_copy_before_the_stored_one_is_no_sign_of_the_version_to_write() -> None:
    """What is noted of a copy that was not written must not make a tie between the two overwrite the later one."""
    one = Indexer()
    other = Indexer(one.index, MemorySeen())
    await one.process(tie(5, status="x"))
    await other.process(tie(1, status="x"))
    await other.process(tie(3, status="y"))
    assert (one.body()["status"], other.emitted.outcomes) == ("x", {"duplicate": 1, "late": 1})


async def test_events_without_ties_cost_no_read() -> None:
    found = Indexer()
    for second in range(10, 15):
        await found.process(tie(second, second=str(second)), tie(99, second="09"))
    assert found.index.reads == []


async def test_a_tie_after_a_known_one_costs_no_read_and_one_after_an_unknown_one_costs_one() -> None:
    found = Indexer()
    for offset in range(3):
        await found.process(tie(offset, status=str(offset)))
    assert (found.index.reads, len(found.index.requests)) == ([], 3)
    other = Indexer(found.index, MemorySeen())
    await other.process(tie(3, status="3"))
    assert (found.index.reads, len(found.index.requests)) == ([["a"]], 5)


async def test_a_document_that_was_deleted_by_hand_is_written_at_the_next_version() -> None:
    index = Forgetful()
    found = Indexer(index, dedup=False)
    await found.process(tie(0))
    version = index.forget("a")
    await found.process(tie(0))
    assert (index.documents["a"].version, found.emitted.outcomes["updated"]) == (version + 1, 2)


async def test_a_newer_event_that_came_between_answer_and_read_makes_it_late() -> None:
    found = Indexer(dedup=False)
    await found.process(tie(0))

    def overtake(_: list[str]) -> None:
        newer = decode_event(tie(0, second="05").value, LATEST)
        found.index.documents["a"] = Stored(newer.version, b"{}")

    found.index.on_read = overtake
    await found.process(tie(1, status="other"))
    assert found.emitted.outcomes == {"updated": 1, "late": 1}


@pytest.mark.parametrize("source", [b"{}", b'{"id":"a"}'])
async def test_a_document_that_no_event_wrote_gives_way(source: bytes) -> None:
    found = Indexer()
    version = decode_event(tie().value, LATEST).version
    found.index.documents["a"] = Stored(version + 4, source)
    await found.process(tie(0))
    assert (found.index.documents["a"].version, found.body()["id"]) == (version + 5, "a")


@pytest.mark.parametrize("problem", [Unavailable("no connection"), Refused("403")])
async def test_a_read_that_fails_is_repeated_and_reported(problem: Exception) -> None:
    found = Indexer(dedup=False)
    await found.process(tie(0))
    left = iter([problem] * 3)

    def fail(_: list[str]) -> None:
        if error := next(left, None):
            raise error

    found.index.on_read = fail
    await found.process(tie(1, status="other"))
    assert found.body()["status"] == "other"
    severity = Severity.WAITS if isinstance(problem, Unavailable) else Severity.BLOCKS
    assert [*found.emitted.problems()] == [(str(problem), severity)] * 3 + [(None, Severity.WAITS)]


@DEDUP
async def test_beyond_255_ties_an_event_is_dead_lettered_and_a_copy_is_none(dedup: bool) -> None:
    found = Indexer(dedup=dedup)
    for offset in range(MAX_TIES + 1):
        await found.process(tie(offset, status=str(offset)))
    assert found.letters.records == []
    await found.process(tie(MAX_TIES + 1, status=str(MAX_TIES)))
    assert (found.letters.records, found.emitted.outcomes["duplicate"]) == ([], 1)
    await found.process(tie(MAX_TIES + 2, status="one too many"))
    (letter,) = found.letters.records
    assert dict(letter.headers)["dead-letter-error"] == b"too_many_ties"
    assert found.body()["status"] == str(MAX_TIES)


async def test_an_answer_that_was_lost_is_found_by_reading() -> None:
    found = Indexer(Losing(), dedup=False)
    await found.process(tie(0, status="first"))
    await found.process(tie(1, status="other"))
    assert found.body()["status"] == "other"
    assert found.emitted.outcomes == {"updated": 1, "duplicate": 1}
    assert found.index.documents["a"].version == decode_event(tie().value, LATEST).version + 1


async def test_a_cache_that_is_wrong_decides_nothing() -> None:
    found = Indexer()
    first = decode_event(tie(0).value, LATEST)
    await found.process(tie(5, status="later"))
    for entry in (entry_of(first, 2**62), b"nonsense", bytes(32)):
        await found.store.mark({first.key: entry})
        other = Indexer(found.index, found.store)
        await other.process(tie(1, status="earlier"))
        assert found.body()["status"] == "later", entry


class Losing(MemoryIndex):
    """The answer to the first request that writes at a tie's version is lost."""

    lost = False

    async def bulk(self, body: bytes) -> BulkReply:
        answer = await super().bulk(body)
        if (
            not self.lost
            and b"409" not in answer.body
            and any(each.version & MAX_TIES for each in self.documents.values())
        ):
            self.lost = True
            raise Unavailable("connection reset")
        return answer


class Forgetful(MemoryIndex):
    """Documents can be deleted by hand: their next version is remembered."""

    def forget(self, identifier: str) -> int:
        gone = self.documents.pop(identifier)
        hidden = Stored(gone.version + 1, b"")
        self.documents[identifier] = hidden
        read = self.read

        async def without(identifiers: Sequence[str]) -> Any:
            found = await read(identifiers)
            return {each: stored for each, stored in found.items() if stored is not hidden}

        self.read = without  # type: ignore[method-assign]
        return hidden.version


# Any set of events of one instant, delivered in any way, gives the greatest of them.

SECONDS = st.sampled_from(["00", "00.000001", "00.000000001", "00.000000002", "00.000001001"])
KINDS = st.sampled_from([CREATED, UPDATED, UPDATED, DELETED])
EVENTS = st.tuples(SECONDS, KINDS, st.integers(0, 3), st.integers(0, 2), st.integers(0, 4))
"""Timestamp, type, content, partition, and when it was published."""


def records(events: Sequence[tuple[str, str, int, int, int]]) -> list[Reported]:
    """Each at an offset of its own; record timestamps need not rise with the offsets."""
    return [
        Reported(
            encoded(event("a", kind, f"2024-01-01T12:00:{second}Z", user_id=f"u{content}", status=f"s{content}")),
            offset,
            partition,
            timestamp=int(NOW * 1000) + published,
        )
        for offset, (second, kind, content, partition, published) in enumerate(events)
    ]


def decoded(record: Reported) -> Event:
    return decode_event(record.value, LATEST, position_of(record))


@settings(max_examples=settings().max_examples * 2)
@given(
    st.lists(EVENTS, min_size=1, max_size=8),
    st.builds(random.Random, st.integers(0, 2**32)),
    st.sampled_from(["off", "shared", "each its own"]),
)
async def test_any_delivery_of_tied_events_gives_the_greatest(
    events: Sequence[tuple[str, str, int, int, int]], chance: random.Random, dedup: str
) -> None:
    async def pause() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    index = MemoryIndex(pause=pause)
    shared = MemorySeen()
    indexers = [Indexer(index, shared if dedup == "shared" else MemorySeen(), dedup=dedup != "off") for _ in range(2)]
    published = records(events)
    deliveries = published + chance.choices(published, k=chance.randrange(6))
    chance.shuffle(deliveries)
    while deliveries:
        some = []
        for _ in range(chance.randint(1, 4)):
            size = chance.randint(1, 3)
            some.append(chance.choice(indexers).process(*deliveries[:size]) if deliveries else asyncio.sleep(0))
            del deliveries[:size]
        await asyncio.gather(*some)
    greatest = max(map(decoded, published), key=lambda each: each.order)
    stored = index.documents["a"]
    assert order_of(stored.source) == greatest.order
    assert base_version(stored.version) == greatest.version
    assert json.loads(stored.source)["user_id"] == greatest.transaction.user_id
    assert all(not each.letters.records for each in indexers)
    assert greatest.order.position > UNKNOWN_POSITION
