"""What the indexer decoded is what the audit would read at its own place, and takes no more memory than it may."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from fixtures.audit import END_OF_TIME, value
from fixtures.records import undecoded
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.errors import EventError
from activity_indexer.event import Event
from activity_indexer.offsets import Span
from activity_indexer.pipeline.batch import Batch
from activity_indexer.pipeline.decode import decode_record
from activity_indexer.pipeline.decoded_events import BESIDE, INVALID, NEAR, DecodedEvents, Run
from activity_indexer.ports import Record
from activity_indexer.positions import Partition

ROOM = 1 << 20
PLACE = Partition("transactions", 0)
OTHER = Partition("transactions", 1)


@dataclass(frozen=True)
class Published:
    offset: int
    value: bytes = field(default_factory=lambda: value("a"))
    partition: int = 0
    topic: str = "transactions"
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 1_700_000_000_000


def event(record: Record) -> Event | None:
    found = decode_record(record, END_OF_TIME)
    return None if isinstance(found, EventError) else found


def keep(store: DecodedEvents, *pieces: Sequence[Record]) -> None:
    """As the processor does with a batch that has these pieces of partitions."""
    records = [record for piece in pieces for record in piece]
    spans = [Span([record.offset for record in piece]) for piece in pieces]
    store.keep(Batch(0.0, records, spans), [event(record) for record in records])


def at(*offsets: int) -> list[Published]:
    return [Published(offset) for offset in offsets]


def opened(limit: int = ROOM, *places: Partition, clock: list[float] | None = None) -> DecodedEvents:
    now = [0.0] if clock is None else clock
    store = DecodedEvents(limit, lambda: now[0])
    store.topic_id = lambda: "id"
    store.open(places or (PLACE,))
    return store


def offsets(run: Run | None) -> list[int] | None:
    return run and [record.offset for record in run.records]


def test_records_are_taken_once_with_their_events_from_the_audits_own_place_on() -> None:
    store = opened()
    keep(store, at(3, 4, 5), [Published(0, partition=1)])
    run = store.take(PLACE, 4, "id", 10)
    assert run == Run(at(4, 5), [event(record) for record in at(4, 5)], 2 * len(value("a")))
    assert store.take(PLACE, 4, "id", 10) is None


def test_no_more_is_taken_than_asked_for_and_the_rest_stays() -> None:
    store = opened()
    keep(store, at(0, 1, 2))
    assert offsets(store.take(PLACE, 0, "id", 2)) == [0, 1]
    assert offsets(store.take(PLACE, 2, "id", 2)) == [2]


def test_what_is_too_little_stays() -> None:
    store = opened()
    keep(store, at(0, 1))
    keep(store, at(2, 3))
    assert store.take(PLACE, 1, "id", 10, at_least=4) is None
    assert offsets(store.take(PLACE, 1, "id", 10, at_least=3)) == [1, 2, 3]


def test_an_invalid_record_is_said_to_be_invalid() -> None:
    store = opened()
    keep(store, [Published(0, b"no event"), Published(1)])
    run = store.take(PLACE, 0, "id", 10)
    assert run is not None
    assert run.events == [INVALID, event(Published(1))]


@pytest.mark.parametrize("later", [at(4), at(2, 4), [undecoded(b"", 5, first=2)]])
def test_behind_a_gap_nothing_is_taken_for_what_comes_next(later: list[Record]) -> None:
    store = opened()
    keep(store, at(0, 1))
    keep(store, later)
    assert offsets(store.take(PLACE, 0, "id", 10)) == [0, 1]
    assert store.take(PLACE, 2, "id", 10) is None


def test_the_topics_id_has_to_be_known_and_the_same() -> None:
    store = opened()
    keep(store, at(0, 1))
    assert store.take(PLACE, 0, "another", 10) is None
    store.topic_id = str
    keep(store, at(0, 1))
    assert store.take(PLACE, 0, "", 10) is None


def test_where_the_indexer_goes_back_what_was_kept_is_forgotten() -> None:
    store = opened()
    keep(store, at(5, 6))
    keep(store, at(0, 1))
    assert store.take(PLACE, 5, "id", 10) is None
    assert not store._size


def test_only_partitions_that_the_audit_reads_are_kept() -> None:
    store = opened(ROOM, OTHER)
    keep(store, at(0, 1))
    assert store.take(PLACE, 0, "id", 10) is None
    store.open([PLACE])
    keep(store, at(2, 3))
    assert offsets(store.take(PLACE, 2, "id", 10)) == [2, 3]


def test_the_indexer_is_behind_until_it_is_past_a_place_or_makes_no_progress() -> None:
    clock = [0.0]
    store = opened(clock=clock)
    assert not store.is_behind(PLACE, 0, 1.0)
    keep(store, at(0, 1))
    assert store.is_behind(PLACE, 2, 1.0)
    assert not store.is_behind(PLACE, 1, 1.0)
    clock[0] = 1.0
    assert not store.is_behind(PLACE, 2, 1.0)


def test_an_indexer_far_behind_is_not_about_to_decode_a_place() -> None:
    store = opened()
    keep(store, at(0, 1))
    assert store.is_behind(PLACE, 2 + NEAR, 1.0)
    assert not store.is_behind(PLACE, 3 + NEAR, 1.0)


def test_an_indexer_that_reads_again_is_not_waited_for() -> None:
    store = opened()
    keep(store, at(0, 1, 2, 3))
    keep(store, at(0, 1))
    assert not store.is_behind(PLACE, 4, 1.0)
    keep(store, at(2, 3, 4))
    assert store.is_behind(PLACE, 5, 1.0)


def test_an_indexer_whose_topic_has_no_id_is_not_waited_for() -> None:
    store = opened()
    store.topic_id = str
    keep(store, at(0, 1))
    assert not store.is_behind(PLACE, 2, 1.0)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), max_size=12), st.integers(0, 9))
def test_no_more_is_kept_than_there_is_room_for(pieces: list[tuple[int, int]], fit: int) -> None:
    store = opened(fit * (2 * len(value("a")) + BESIDE), PLACE, OTHER)
    ends = [0, 0]
    for number, count in pieces:
        keep(store, [Published(ends[number] + at, partition=number) for at in range(count)])
        ends[number] += count
        assert sum(len(lane.records) for lane in store._lanes.values()) <= fit
    for place in (PLACE, OTHER):
        position = store._lanes[place].first
        while run := store.take(place, position, "id", 3):
            position = run.records[-1].offset + 1
    assert store._size == 0


READ, TAKE, BACK = "read", "take", "back"
STEPS = st.lists(st.tuples(st.sampled_from([READ, TAKE, TAKE, BACK, *range(1, 6)]), st.integers(1, 4)), max_size=40)


@given(st.sets(st.integers(0, 40), min_size=1), STEPS, st.integers(0, 12))
def test_the_audit_reads_each_record_once_and_in_order_however_indexer_and_audit_move(
    log: set[int], steps: list[tuple[str | int, int]], fit: int
) -> None:
    """A partition with gaps; the indexer decodes some records at a time, and goes back at times."""
    published = {offset: Published(offset, value(f"t{offset}")) for offset in sorted(log)}
    left = sorted(log)
    store = opened(fit * (2 * len(value("t40")) + BESIDE))
    indexer, position, seen = 0, 0, list[int]()
    for what, count in steps:
        if what == BACK:
            indexer = max(0, indexer - count)
        elif what == READ:  # from Kafka
            if ahead := [offset for offset in left if offset >= position][:count]:
                seen += ahead
                position = ahead[-1] + 1
        elif what == TAKE:
            if run := store.take(PLACE, position, "id", count):
                assert run.events == [event(published[record.offset]) for record in run.records]
                seen += [record.offset for record in run.records]
                position = run.records[-1].offset + 1
        elif some := left[indexer : indexer + int(what)]:
            keep(store, [published[offset] for offset in some])
            indexer += len(some)
    assert seen == left[: len(seen)]
