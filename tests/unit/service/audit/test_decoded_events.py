"""What the indexer decoded is taken by the audit for the same record only, and takes no more memory than it may."""

from dataclasses import dataclass, replace

import pytest
from fixtures.audit import END_OF_TIME, value
from fixtures.records import undecoded
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.audit.decoded_events import BESIDE, DecodedEvents
from activity_indexer.errors import EventError
from activity_indexer.event import Event
from activity_indexer.pipeline.decode import decode_record

ROOM = 1 << 20


@dataclass(frozen=True)
class Record:
    value: bytes | None
    offset: int = 0
    partition: int = 0
    topic: str = "transactions"
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 1_700_000_000_000


def decoded(record: Record) -> Event | None:
    found = decode_record(record, END_OF_TIME)
    return None if isinstance(found, EventError) else found


def keep(store: DecodedEvents, *records: Record) -> None:
    store.keep(records, [decoded(record) for record in records], sum(len(record.value or b"") for record in records))


def test_an_event_is_taken_once_for_the_record_that_it_was_decoded_from() -> None:
    store, record = DecodedEvents(ROOM), Record(value("a"))
    keep(store, record, Record(value("b"), 1))
    assert store.take(replace(record), END_OF_TIME) == decoded(record)
    assert store.take(record, END_OF_TIME) is None


@pytest.mark.parametrize(
    "other",
    [
        Record(value("b")),
        Record(value("a"), timestamp=1_700_000_000_001),
        Record(value("a"), headers=(("replay-offset", b"3"),)),
        Record(value("a"), offset=1),
        Record(value("a"), partition=1),
        Record(None),
    ],
)
def test_another_record_is_decoded_also_at_the_same_place_of_a_topic_that_was_created_again(other: Record) -> None:
    store = DecodedEvents(ROOM)
    keep(store, Record(value("a")))
    assert store.take(other, END_OF_TIME) is None


def test_a_record_that_could_not_be_decoded_itself_is_not_one_that_could() -> None:
    store, broken = DecodedEvents(ROOM), undecoded(value("a"), 0)
    keep(store, Record(value("a"), 0, broken.partition, broken.topic, timestamp=broken.timestamp))
    assert store.take(broken, END_OF_TIME) is None


def test_a_clock_that_was_set_back_makes_an_event_one_of_the_future_again() -> None:
    store, record = DecodedEvents(ROOM), Record(value("a", 1))
    event = decoded(record)
    assert event is not None
    keep(store, record)
    assert store.take(record, event.timestamp // 1000 - 1) is None
    keep(store, record)
    assert store.take(record, event.timestamp // 1000) == event


def test_an_invalid_record_is_judged_again() -> None:
    store, record = DecodedEvents(ROOM), Record(b"no event")
    keep(store, record)
    assert store.take(record, END_OF_TIME) is None


def test_what_is_larger_than_the_room_is_not_kept() -> None:
    store, record = DecodedEvents(100), Record(value("a"))
    keep(store, record)
    assert store.take(record, END_OF_TIME) is None


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=4), max_size=12), st.integers(0, 9))
def test_the_newest_batches_that_fit_are_kept(batches: list[list[tuple[int, int]]], fit: int) -> None:
    size = len(value("a")) * 2 + BESIDE
    store = DecodedEvents(fit * size)
    left = []
    for places in batches:
        records = [Record(value("a"), offset, partition) for partition, offset in places]
        keep(store, *records)
        left.append(records)
        while sum(map(len, left)) > fit:
            left.pop(0)
    kept = {(record.partition, record.offset) for records in left for record in records}
    found = {place for place in {place for each in batches for place in each} if take(store, place)}
    assert found <= kept
    assert len(store._events) <= fit
    if len({place for each in batches for place in each}) == sum(map(len, batches)):
        assert not store._events


def take(store: DecodedEvents, place: tuple[int, int]) -> bool:
    return store.take(Record(value("a"), place[1], place[0]), END_OF_TIME) is not None
