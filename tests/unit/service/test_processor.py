"""One batch all the way: decode, dedup, enrich, index, dead-letter, settle."""

import asyncio
import gc
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from fixtures.clock import Clock
from fixtures.emitted import Emitted
from fixtures.events import CREATED, DELETED, LATEST, NOW, TOPIC, UPDATED, at, value
from fixtures.memory.stores import MemoryDeadLetters, MemoryIndex, MemorySeen, refusal, reply
from fixtures.records import Reported, enriched, headers, one_batch, undecoded
from fixtures.waiting import until
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_indexer import processor
from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.errors import EnrichmentError, Unavailable
from activity_indexer.event import Event, Position, base_version
from activity_indexer.facts import Severity
from activity_indexer.indexing import BulkWriter, Document
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.pipeline.dedup import Deduplicator, RecentIds, entry_of
from activity_indexer.pipeline.outcome import Item, ItemError
from activity_indexer.pipeline.rereads import Rereads
from activity_indexer.ports import BulkReply, Content, Enriched, OutRecord
from activity_indexer.positions import Partition
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import (
    BatchDecoded,
    BatchSettled,
    BreakerClosed,
    BreakerOpened,
    DeadLettersWritten,
    Dependency,
    DocumentsRetried,
)
from activity_indexer.responsive import SLICE
from activity_indexer.ties import OrderedWriter
from activity_indexer.trial import TRIAL_ID

pytestmark = pytest.mark.simulated_time

PARTITION = Partition(TOPIC, 0)
FAST = Backoff(0.0001, 0.0002)
BAD = Item(400, ItemError("document_parsing_exception", "failed to parse"))


def refusing(which: Callable[[str], bool]) -> Callable[[str], Item | None]:
    """The index takes good documents, as the trial one, and refuses these."""
    return lambda identifier: BAD if identifier != TRIAL_ID and which(identifier) else None


def enrich(found: Event) -> Enriched:
    if found.transaction.status == "cursed":
        raise EnrichmentError("enrichment_failed", "cursed")
    return enriched({"day": "2024-01-01"}, found.transaction.id)


@dataclass
class Subject:
    """A processor on servers in memory, and the tracker of its only partition."""

    index: MemoryIndex = field(default_factory=MemoryIndex)
    store: MemorySeen = field(default_factory=MemorySeen)
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    breaker: Breaker = field(default_factory=lambda: Breaker(1.0, 100, 10))
    emitted: Emitted = field(default_factory=Emitted)
    clock: Clock = field(default_factory=lambda: Clock(NOW))
    dedup: bool = True
    retry_interval: float = 0.001
    tracker: PartitionOffsets = field(default_factory=PartitionOffsets)
    offset: int = 0
    rereads: Rereads = field(default_factory=Rereads)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.writer = BulkWriter(self.index, AdaptiveLimit(4, 60.0, loop.time), FAST, self.emitted, 1, self.clock)
        self.deduplicator = Deduplicator(RecentIds(1000), self.store, 5.0, loop.time, self.emitted)
        self.processor = Processor(
            self.deduplicator if self.dedup else None,
            enrich,
            OrderedWriter(self.writer, self.index, FAST, self.emitted),
            self.dead_letters,
            self.breaker,
            self.emitted,
            Limits(86_400.0, self.retry_interval, FAST),
            self.clock,
            rereads=self.rereads,
        )

    def batch(self, *values: bytes | None) -> Batch:
        records = [Reported(each, self.offset + number) for number, each in enumerate(values)]
        self.offset += len(values)
        return one_batch(records, self.tracker, self.clock())

    async def process(self, *values: bytes | None) -> None:
        async with asyncio.timeout(2):
            await self.processor.process(self.batch(*values))

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.emitted.outcomes)

    def body(self, identifier: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.index.documents[identifier].source)
        return found


async def test_events_become_documents_and_the_batch_is_settled() -> None:
    subject = Subject()
    await subject.process(value("a"), value("b", 1, UPDATED), value("c", 2, DELETED))
    assert subject.outcomes == {"indexed": 1, "updated": 1, "deleted": 1}
    assert subject.tracker.mark() == 3
    assert (subject.body("a")["search_content"], subject.body("a")["enrichment"]) == ("a", {"day": "2024-01-01"})
    assert subject.body("a")["_position"] == f"{int(NOW * 1000)}:0:0"
    tombstone = {"id": "c", "user_id": "user_1", "_deleted_at": at(2), "_position": f"{int(NOW * 1000)}:0:2"}
    assert subject.body("c") == tombstone
    (summary,) = subject.emitted.of(BatchSettled)
    assert (summary.events, summary.looked_up, summary.totals()["indexed"], len(summary.ages)) == (3, 3, 1, 3)
    assert summary.duration > 0


async def test_what_was_decoded_is_handed_on_before_it_is_indexed() -> None:
    subject = Subject()
    reported: list[tuple[list[str | None], int]] = []

    def decoded(batch: Batch, events: Sequence[Event | None]) -> None:
        ids = [event.transaction.id if event else None for event in events]
        assert len(batch.records) == len(ids)
        reported.append((ids, len(subject.index.documents)))

    subject.processor._decoded = decoded
    await subject.process(value("a"), b"no event")
    assert reported == [(["a", None], 0)]
    assert subject.outcomes == {"indexed": 1, "dead_lettered": 1}


async def test_a_batch_gives_its_place_up_when_only_invalid_events_are_left() -> None:
    subject = Subject()
    done: list[tuple[set[str], int]] = []
    batch = subject.batch(value("a"), b"no event")
    batch.requests_done = lambda: done.append((set(subject.index.documents), len(subject.dead_letters.records)))
    await subject.processor.process(batch)
    assert done == [({"a"}, 0)]
    assert len(subject.dead_letters.records) == 1


async def test_a_batch_that_may_be_held_keeps_its_place() -> None:
    subject = Subject(MemoryIndex(on_item=refusing(lambda identifier: identifier == "a")))
    batch = subject.batch(value("a"), value("b"), b"no event")
    batch.requests_done = lambda: pytest.fail("its refused event may be tried again")
    await subject.processor.process(batch)
    assert subject.outcomes == {"indexed": 1, "dead_lettered": 2}


async def test_the_event_loop_has_its_turns_while_a_batch_computes() -> None:
    """Also with few events that take long: the time counts, not the number."""
    subject = Subject()
    turns: list[int] = []

    async def count() -> None:
        while True:
            turns.append(0)
            await asyncio.sleep(0)

    def slow(found: Event) -> Enriched:
        time.sleep(2 * SLICE)
        return enrich(found)

    subject.processor._enricher = slow
    counting = asyncio.create_task(count())
    computing = asyncio.create_task(subject.process(*[value(str(number)) for number in range(6)]))
    other = asyncio.create_task(subject.process(value("other")))
    await asyncio.sleep(0)
    before = len(turns)
    await asyncio.wait({computing, other})
    counting.cancel()
    assert len(turns) - before >= 7
    assert subject.outcomes == {"indexed": 7}


async def test_batches_compute_one_after_another() -> None:
    """So the loop is held for one slice, and not for one of each batch."""
    subject = Subject()
    order: list[str] = []

    def slow(found: Event) -> Enriched:
        order.append(found.transaction.id[0])
        time.sleep(2 * SLICE)
        return enrich(found)

    subject.processor._enricher = slow
    await asyncio.gather(*[subject.process(*[value(f"{name}{number}") for number in range(3)]) for name in "ab"])
    assert sorted(order) in (order, order[::-1])
    assert subject.outcomes == {"indexed": 6}


async def test_a_batch_that_is_given_up_while_it_computes_settles_nothing() -> None:
    subject = Subject()

    def slow(found: Event) -> Enriched:
        time.sleep(2 * SLICE)
        return enrich(found)

    subject.processor._enricher = slow
    computing = asyncio.create_task(subject.process(*[value(str(number)) for number in range(6)]))
    for _ in range(4):
        await asyncio.sleep(0)
    computing.cancel()
    await asyncio.wait({computing})
    assert computing.cancelled()
    assert (subject.outcomes, subject.tracker.mark(), subject.index.requests) == ({}, 0, [])
    subject.processor._enricher = enrich
    subject.offset = 0
    await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 1}, "the next one may compute"


async def test_a_record_that_cannot_be_decoded_is_dead_lettered_with_its_bytes_even_when_they_look_like_an_event() -> (
    None
):
    subject = Subject()
    records: list[Any] = [
        Reported(value("a"), 0),
        undecoded(value("b"), 4, first=1, content=Content.RECORDS),
        Reported(value("c"), 5),
    ]
    await subject.processor.process(one_batch(records, subject.tracker))
    assert subject.outcomes == {"indexed": 2, "dead_lettered": 1}
    assert subject.tracker.mark() == 6
    (found,) = subject.dead_letters.records
    reported = headers(found)
    assert (found.value, reported["stage"], reported["error"]) == (value("b"), "decode", "undecodable_record")
    assert (reported["first-offset"], reported["offset"]) == ("1", "4")


@pytest.fixture
def uncollected() -> Iterator[Callable[[], set[type]]]:
    """Types of what has been left to the garbage collector since."""

    def look() -> set[type]:
        gc.collect()
        return {type(each) for each in gc.garbage}

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield look
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("spoilt", [b"{", value("b", status="cursed")], ids=["no event", "its enrichment fails"])
async def test_what_cannot_be_indexed_does_not_keep_its_batch_in_memory(
    spoilt: bytes, uncollected: Callable[[], set[type]]
) -> None:
    subject = Subject()
    await subject.process(value("a"), spoilt)
    assert subject.outcomes == {"indexed": 1, "dead_lettered": 1}
    del subject
    assert not {Batch, Reported, Document} & uncollected()


async def test_an_index_that_is_unavailable_does_not_keep_what_it_did_not_take_in_memory(
    uncollected: Callable[[], set[type]],
) -> None:
    answers = iter([True] * 3)

    def unavailable_at_first(_: list[str]) -> None:
        if next(answers, False):
            raise Unavailable("away")

    subject = Subject(MemoryIndex(on_request=unavailable_at_first))
    await subject.process(value("a"))
    assert (subject.outcomes, len(subject.index.requests)) == ({"indexed": 1}, 4)
    del subject
    assert not {Batch, Reported, Document} & uncollected()


@pytest.mark.parametrize("timestamp", [-1, 0, int(NOW), int(NOW * 1e6), int((NOW + 3601) * 1000)])
async def test_a_record_whose_timestamp_cannot_be_true_has_no_age_and_is_not_followed(timestamp: int) -> None:
    """None, zero, seconds, microseconds, and too far ahead."""
    subject = Subject()
    records = [Reported(value("a"), 0, timestamp=timestamp), Reported(value("b"), 1)]
    await subject.processor.process(one_batch(records, subject.tracker))
    (summary,) = subject.emitted.of(BatchSettled)
    assert subject.outcomes == {"indexed": 2}
    assert len(summary.ages) == 1
    assert summary.undated == 1
    assert summary.example is not None
    assert summary.example.identifier == "b"


async def test_what_a_search_will_not_find_is_not_followed() -> None:
    subject = Subject()
    await subject.process(value("a", 2, DELETED))
    await subject.process(value("a", 1, UPDATED), value("b", 1, DELETED))
    assert [summary.example for summary in subject.emitted.of(BatchSettled)] == [None, None]


async def test_only_a_transactions_newest_event_is_sent() -> None:
    subject = Subject()
    await subject.process(value("a", 1, UPDATED), value("a", 3, UPDATED, status="newest"), value("a", 0), value("b"))
    assert subject.index.requests == [["a", "b"]]
    assert subject.body("a")["status"] == "newest"
    assert subject.outcomes == {"updated": 1, "late": 2, "indexed": 1}


async def test_at_one_instant_a_deletion_is_newer_than_an_update_and_that_than_a_creation() -> None:
    subject = Subject()
    await subject.process(value("a", 0, DELETED), value("a", 0, UPDATED), value("a", 0, CREATED))
    assert "_deleted_at" in subject.body("a")


async def test_copies_in_one_batch_are_duplicates() -> None:
    subject = Subject()
    await subject.process(value("a"), value("a"), value("a"))
    assert subject.outcomes == {"indexed": 1, "duplicate": 2}
    assert subject.tracker.mark() == 3


async def test_what_is_delivered_again_is_a_duplicate_that_costs_no_request() -> None:
    subject = Subject()
    await subject.process(value("a"))
    subject.offset = 0
    await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 1, "duplicate": 1}
    assert len(subject.index.requests) == 1


async def test_copies_in_a_later_batch_are_duplicates_that_raise_the_position_and_cost_no_read() -> None:
    subject = Subject()
    for _ in range(3):
        await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 1, "duplicate": 2}
    assert (len(subject.index.requests), subject.index.reads) == (3, [])
    assert subject.body("a")["_position"] == f"{int(NOW * 1000)}:0:2"
    assert subject.emitted.of(BatchSettled)[1].known_in_memory == 1
    assert subject.tracker.mark() == 3


async def test_what_another_indexer_took_is_known_from_the_store() -> None:
    subject = Subject()
    event = decode_event(value("a"), LATEST, Position(int(NOW * 1000), 0, 0))
    await subject.store.mark({event.key: entry_of(event, event.version)})
    await subject.process(value("a"))
    assert subject.outcomes == {"duplicate": 1}
    assert subject.emitted.of(BatchSettled)[0].known_in_store == 1
    assert subject.store.calls == 2, "one to mark it, one to ask for it, none to mark it again"


async def test_without_dedup_the_event_version_still_says_duplicates() -> None:
    subject = Subject(dedup=False)
    await subject.process(value("a"))
    await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 1, "duplicate": 1}
    assert subject.store.calls == 0


async def test_a_store_that_is_unavailable_costs_nothing_but_a_report() -> None:
    subject = Subject(store=MemorySeen(problem="Redis is unavailable"))
    await subject.process(value("a"), value("b"))
    assert subject.outcomes == {"indexed": 2}
    assert subject.emitted.problems(Dependency.REDIS) == [("Redis is unavailable", Severity.WARNS)]


async def test_an_older_event_is_late_and_changes_nothing() -> None:
    subject = Subject()
    await subject.process(value("a", 5, UPDATED, status="newer"))
    await subject.process(value("a", 1, UPDATED, status="older"))
    assert subject.outcomes == {"updated": 1, "late": 1}
    assert subject.body("a")["status"] == "newer"


async def test_a_deletion_is_not_undone_by_a_late_event() -> None:
    subject = Subject()
    await subject.process(value("a", 5, DELETED))
    await subject.process(value("a", 1))
    assert "_deleted_at" in subject.body("a")


async def test_when_the_newest_event_is_refused_the_next_newest_takes_its_place() -> None:
    subject = Subject()
    await subject.process(
        value("a", 1, status="oldest"),
        value("a", 3, UPDATED, metadata={"x": 1}).replace(b'{"x": 1}', b'{"x": 1, "x": 2}'),
        value("a", 2, UPDATED, status="middle"),
        value("a", 4, UPDATED, status="cursed"),
    )
    assert subject.body("a")["status"] == "middle"
    assert subject.outcomes == {"updated": 1, "late": 1, "dead_lettered": 2}
    assert [headers(record)["stage"] for record in subject.dead_letters.records] == ["index", "enrich"]


async def test_when_all_events_of_a_transaction_are_refused_all_are_dead_letters() -> None:
    subject = Subject(MemoryIndex(on_item=refusing(lambda _: True)))
    await subject.process(value("a", 1), value("a", 2, UPDATED))
    assert subject.outcomes == {"dead_lettered": 2}
    assert subject.tracker.mark() == 2


STAGES = {
    "decode": (b"not JSON", "invalid_json", None, "invalid"),
    "validate": (b"{}", "missing_field", None, "invalid"),
    "enrich": (value("x", status="cursed"), "enrichment_failed", "x", CREATED),
    "index": (value("bad"), "document_parsing_exception", "bad", CREATED),
}


@pytest.mark.parametrize(("stage", "case"), STAGES.items())
async def test_one_bad_event_is_dead_lettered_alone(stage: str, case: tuple[bytes, str, str | None, str]) -> None:
    data, code, identifier, kind = case
    subject = Subject(MemoryIndex(on_item=lambda each: BAD if each == "bad" else None))
    await subject.process(value("a"), data, value("b"))
    (letter,) = subject.dead_letters.records
    reported = headers(letter)
    assert letter.value == data
    assert (reported["stage"], reported["error"], reported["offset"], reported["attempts"]) == (stage, code, "1", "1")
    assert ("message-id" in reported) is (identifier is not None)
    assert set(subject.index.documents) == {"a", "b"}
    assert subject.tracker.mark() == 3
    assert subject.emitted.outcomes["dead_lettered"] == 1
    assert [letter.event_type for letter in subject.emitted.letters] == [kind]


async def test_dead_letters_of_a_batch_are_reported_by_kind() -> None:
    subject = Subject(MemoryIndex())
    await subject.process(b"not JSON", b"{}", value("a"), b"also not JSON", b"{}", b"[]")
    assert [each.places for each in subject.emitted.of(DeadLettersWritten)] == [[0, 3], [1, 4], [5]]
    assert [letter.record.offset for letter in subject.emitted.letters] == [0, 3, 1, 4, 5]
    assert subject.emitted.outcomes == {"dead_lettered": 5, "indexed": 1}


async def test_more_dead_letters_than_go_at_once_are_all_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "LETTERS", 3)
    subject, broken = Subject(MemoryIndex()), [b"not JSON %d" % number for number in range(10)]
    await subject.process(*broken, value("a"))
    assert [letter.value for letter in subject.dead_letters.records] == broken
    assert subject.dead_letters.calls == 4
    assert subject.tracker.mark() == 11


async def test_a_dead_letter_is_never_marked_as_seen_so_that_its_replay_is_processed() -> None:
    subject = Subject(MemoryIndex(on_item=lambda each: BAD if each == "bad" else None))
    await subject.process(value("bad"), value("good"))
    known = {identifier for _, identifier in subject.store.until}
    assert known == {decode_event(value("good"), LATEST).key}
    subject.index.on_item = lambda _: None
    await subject.process(value("bad"))
    assert "bad" in subject.index.documents


async def test_while_the_dead_letter_topic_is_unavailable_nothing_is_settled_and_no_record_is_sent_twice() -> None:
    problem: str | None = "Kafka is unavailable"
    subject = Subject(dead_letters=MemoryDeadLetters(refuse=lambda record: problem if record.value == b"1" else None))
    processing = asyncio.create_task(subject.process(b"1", b"2", value("a")))
    await until(lambda: subject.emitted.problems(Dependency.DEAD_LETTERS))
    assert subject.tracker.mark() == 0
    assert subject.store.calls == 1
    assert subject.emitted.problems(Dependency.DEAD_LETTERS)[-1] == ("Kafka is unavailable", Severity.BLOCKS)
    problem = None
    await processing
    assert [record.value for record in subject.dead_letters.records] == [b"2", b"1"]
    assert subject.tracker.mark() == 3
    assert subject.emitted.problems(Dependency.DEAD_LETTERS)[-1][0] is None


async def test_an_outage_dead_letters_nothing_however_long() -> None:
    answers = iter([Unavailable("away")] * 20)

    def unavailable(_: list[str]) -> None:
        if error := next(answers, None):
            raise error

    subject = Subject(MemoryIndex(on_request=unavailable))
    await subject.process(value("a"), value("b"))
    assert subject.outcomes == {"indexed": 2}
    assert subject.dead_letters.calls == 0


async def test_the_events_of_a_batch_are_reported_once_when_they_are_decoded() -> None:
    subject = Subject()
    await subject.process(value("a"), b"bad")
    (decoded,) = subject.emitted.of(BatchDecoded)
    assert [found and found.transaction.id for found in decoded.events] == ["a", None]


async def test_cancelled_while_indexing_it_settles_exactly_what_is_safe() -> None:
    subject = Subject(MemoryIndex(on_item=lambda each: Item(429, ItemError("busy")) if each == "slow" else None))
    await subject.process(value("known"))
    batch = subject.batch(value("known"), value("a"), value("slow"), value("b"), b"bad")
    processing = asyncio.create_task(subject.processor.process(batch))
    await until(lambda: subject.emitted.of(DocumentsRetried))
    processing.cancel()
    await asyncio.gather(processing, return_exceptions=True)
    assert subject.tracker.mark() == 3, "known and a are safe, slow is not"
    subject.index.on_item = lambda _: None
    await subject.process(value("slow"))
    (span,) = batch.spans
    span.settle(2)
    assert subject.tracker.mark() == 5, "b is safe, the bad one is in no topic yet"
    assert subject.dead_letters.records == []


async def test_cancelled_while_dead_lettering_what_the_topic_has_is_settled() -> None:
    subject = Subject(dead_letters=MemoryDeadLetters(refuse=lambda record: "away" if record.value == b"2" else None))
    processing = asyncio.create_task(subject.process(b"1", b"2", b"3"))
    await until(lambda: subject.emitted.problems(Dependency.DEAD_LETTERS))
    processing.cancel()
    await asyncio.gather(processing, return_exceptions=True)
    assert subject.outcomes == {"dead_lettered": 2}
    assert subject.tracker.mark() == 1


async def test_cancelled_while_dead_lettering_the_written_events_are_settled() -> None:
    subject = Subject(dead_letters=MemoryDeadLetters(refuse=lambda _: "away"))
    processing = asyncio.create_task(subject.process(value("a"), b"bad", value("b")))
    await until(lambda: subject.emitted.problems(Dependency.DEAD_LETTERS))
    processing.cancel()
    await asyncio.gather(processing, return_exceptions=True)
    assert subject.tracker.mark() == 1
    assert subject.outcomes == {"indexed": 2}, "what is done is counted, though the rest of the batch is given up"
    assert [batch.events for batch in subject.emitted.of(BatchSettled)] == [2]


def strict() -> Breaker:
    return Breaker(0.5, 100, 3)


@pytest.mark.parametrize("stage", ["index", "enrich"])
async def test_when_the_sink_refuses_most_events_they_are_held_until_the_cause_is_gone(stage: str) -> None:
    broken = True

    def failing(found: Event) -> Enriched:
        if broken and stage == "enrich":
            raise EnrichmentError("enrichment_failed", "broken")
        return enrich(found)

    index = MemoryIndex(on_item=refusing(lambda _: broken and stage == "index"))
    subject = Subject(index, breaker=strict(), retry_interval=0.02)
    subject.processor._enricher = failing
    processing = asyncio.create_task(subject.process(*(value(f"x{number}") for number in range(4))))
    await until(lambda: subject.breaker.is_open and subject.emitted.of(BreakerOpened))
    assert subject.breaker.is_open
    assert stage in subject.emitted.of(BreakerOpened)[0].example
    assert not processing.done()
    assert subject.breaker.held == 1
    assert not subject.breaker.lets_in()
    broken = False
    await processing
    assert not subject.breaker.is_open
    assert subject.breaker.held == 0
    assert subject.emitted.of(BreakerClosed)
    assert subject.outcomes == {"indexed": 4}
    assert subject.dead_letters.records == []
    assert subject.tracker.mark() == 4


async def test_a_bad_event_among_those_held_does_not_hold_the_others_for_ever() -> None:
    broken = True
    index = MemoryIndex(on_item=refusing(lambda each: broken or each == "bad"))
    subject = Subject(index, breaker=strict(), retry_interval=0.02)
    processing = asyncio.create_task(subject.process(b"no JSON", value("bad"), *(value(f"x{each}") for each in "abcd")))
    await until(lambda: subject.breaker.is_open)
    assert subject.breaker.is_open
    assert [record.value for record in subject.dead_letters.records] == [b"no JSON"], "it waits for nothing"
    subject.clock.now += 100
    broken = False
    await processing
    assert not subject.breaker.is_open
    assert subject.outcomes == {"indexed": 4, "dead_lettered": 2}
    bad = headers(subject.dead_letters.records[1])
    assert (bad["first-failure"], bad["last-failure"]) == (at(3600), at(3700))
    assert int(bad["attempts"]) >= 2


async def test_invalid_events_never_stop_intake_however_many() -> None:
    subject = Subject(breaker=strict())
    for _ in range(5):
        await subject.process(*[b"no JSON", b"{}"] * 20)
    await subject.process(value("a"))
    assert not subject.breaker.is_open
    assert subject.outcomes == {"dead_lettered": 200, "indexed": 1}
    assert subject.emitted.of(BreakerOpened) == []


async def test_few_enrichments_of_a_type_that_fail_stop_nothing() -> None:
    subject = Subject(breaker=strict())
    await subject.process(*(value(f"x{each}", status="cursed") for each in range(8)), value("a"), value("b"))
    assert not subject.breaker.is_open
    assert subject.outcomes == {"dead_lettered": 8, "indexed": 2}


async def test_when_the_last_held_batch_is_let_go_intake_goes_on_until_the_next_failure() -> None:
    """With no events to come, nothing else would close it."""
    subject = Subject(MemoryIndex(on_item=refusing(lambda each: each.startswith("bad"))), breaker=strict())
    await subject.process(*(value(f"bad{number}") for number in range(4)))
    assert subject.outcomes == {"dead_lettered": 4}
    assert not subject.breaker.is_open
    assert subject.emitted.of(BreakerClosed)
    opened = len(subject.emitted.of(BreakerOpened))
    await subject.process(*(value(f"bad{number}") for number in range(4, 8)))
    assert len(subject.emitted.of(BreakerOpened)) > opened
    await subject.process(value("a"), value("b"))
    assert subject.outcomes == {"dead_lettered": 8, "indexed": 2}
    assert not subject.breaker.is_open


async def test_one_held_batch_is_let_go_in_each_interval() -> None:
    subject = Subject(MemoryIndex(on_item=refusing(lambda _: True)), breaker=strict(), retry_interval=0.1)
    batches = [subject.batch(*(value(f"{name}{number}") for number in range(4))) for name in "abc"]
    processing = [asyncio.create_task(subject.processor.process(batch)) for batch in batches]
    await asyncio.sleep(0.15)
    assert sum(each.done() for each in processing) == 1
    assert len(subject.dead_letters.records) == 4
    subject.index.on_item = lambda _: None
    await asyncio.gather(*processing)
    assert subject.outcomes == {"dead_lettered": 4, "indexed": 8}


async def test_an_index_that_refuses_good_documents_dead_letters_nothing() -> None:
    broken = True
    subject = Subject(MemoryIndex(on_item=lambda _: BAD if broken else None), breaker=Breaker(1.0, 100, 10))
    processing = asyncio.create_task(subject.process(*(value(f"x{number}") for number in range(20))))
    await asyncio.sleep(0.02)
    assert "document_parsing_exception: failed to parse" in subject.emitted.halts[0]
    assert not processing.done()
    broken = False
    await processing
    assert subject.outcomes == {"indexed": 20}
    assert subject.dead_letters.records == []


async def test_good_batches_pass_while_the_breaker_is_open() -> None:
    subject = Subject(breaker=strict())
    subject.breaker.record(10, 10)
    await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 1}
    assert subject.breaker.is_open


async def test_a_defect_is_raised_and_settles_what_is_safe() -> None:
    def explode(_: OutRecord) -> str:
        raise RuntimeError("defect")

    subject = Subject(dead_letters=MemoryDeadLetters(refuse=explode))
    with pytest.raises(RuntimeError, match="defect"):
        await subject.process(value("a"), b"bad")
    assert subject.tracker.mark() == 1


kinds = st.sampled_from([CREATED, UPDATED, DELETED])
chosen = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6), kinds), min_size=1, max_size=16, unique=True)


def hindered(chance: random.Random) -> MemoryIndex:
    """An index that is slow, busy, away, confused and short of room at random."""

    def on_request(ids: list[str]) -> BulkReply | None:
        if len(ids) > 3 and chance.random() < 0.3:
            return reply(413, b"")
        draw = chance.random()
        if draw < 0.1:
            raise Unavailable("no connection")
        if draw < 0.2:
            return chance.choice(
                [
                    reply(503, b"<html>"),
                    refusal(429, "es_rejected_execution_exception"),
                    refusal(403, "security_exception"),
                ]
            )
        return None

    def on_item(_: str) -> Item | None:
        busy = ItemError("es_rejected_execution_exception", "busy")
        return Item(429, busy) if chance.random() < 0.15 else None

    async def pause() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    return MemoryIndex(on_request=on_request, on_item=on_item, pause=pause)


@settings(max_examples=40)
@given(chosen, st.builds(random.Random, st.integers(0, 2**32)), st.booleans())
async def test_any_order_number_batching_and_interleaving_of_deliveries_gives_the_same_documents(
    events: Sequence[tuple[str, int, str]], chance: random.Random, dedup: bool
) -> None:
    subject = Subject(hindered(chance), dedup=dedup)
    values = [value(identifier, seconds, kind, status=f"{seconds}") for identifier, seconds, kind in events]
    deliveries = values + chance.choices(values, k=chance.randrange(8))
    chance.shuffle(deliveries)
    batches: list[Batch] = []
    while deliveries:
        size = chance.randint(1, len(deliveries))
        batches.append(subject.batch(*deliveries[:size]))
        del deliveries[:size]
    async with asyncio.timeout(5):
        await asyncio.gather(*(subject.processor.process(batch) for batch in batches))
    newest: dict[str, Event] = {}
    for found in sorted((decode_event(each, LATEST) for each in values), key=lambda each: each.version):
        newest[found.transaction.id] = found
    assert {name: base_version(stored.version) for name, stored in subject.index.documents.items()} == {
        name: found.version for name, found in newest.items()
    }
    for name, found in newest.items():
        body = subject.body(name)
        assert ("_deleted_at" in body) is found.deleted
        assert found.deleted or body["status"] == found.transaction.status
    assert subject.dead_letters.records == []
    assert subject.tracker.mark() == subject.offset


async def test_an_id_that_is_known_is_not_marked_again_and_so_not_known_for_longer() -> None:
    subject = Subject()
    await subject.process(value("a"))
    marked = dict(subject.store.until)
    subject.offset = 0
    await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 1, "duplicate": 1}
    assert subject.store.until == marked


async def test_what_is_read_again_on_purpose_is_asked_of_elasticsearch() -> None:
    subject = Subject()
    await subject.process(value("a"), value("b", 1))
    del subject.index.documents["a"]
    subject.offset = 0
    subject.rereads.expect(PARTITION, 2)
    await subject.process(value("a"), value("b", 1))
    assert subject.outcomes == {"indexed": 3, "duplicate": 1}
    await subject.process(value("a"))
    assert subject.outcomes == {"indexed": 3, "duplicate": 2}
    assert subject.emitted.of(BatchSettled)[1].looked_up == 0


async def test_a_copy_of_a_known_event_is_a_duplicate_though_its_original_is_read_again_with_it() -> None:
    subject = Subject()
    await subject.process(value("a"))
    del subject.index.documents["a"]
    subject.offset = 0
    subject.rereads.expect(PARTITION, 1)
    await subject.process(value("a"), value("a"))
    assert "a" in subject.index.documents
