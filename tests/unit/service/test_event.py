"""The event version and the message id."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.event import (
    CREATED,
    DELETED,
    EVENT_TYPES,
    LAST_TIMESTAMP,
    MAX_TIES,
    UPDATED,
    Event,
    Position,
    Transaction,
    base_version,
    event_version,
    message_id,
    version_microseconds,
)

OTHER = Transaction(id="a", user_id="other")

NOON = 1_704_110_400_000_000_000


def event(kind: str = CREATED, timestamp: int = NOON, identifier: str = "a") -> Event:
    transaction = Transaction(id=identifier, user_id="u")
    return Event(kind, transaction, b"{}", timestamp, "", event_version(kind, timestamp))


def test_the_version_is_microseconds_times_four_and_the_rank_with_room_for_ties() -> None:
    assert [event_version(kind, 100_000) for kind in EVENT_TYPES] == [400 * 256, 401 * 256, 402 * 256]


def test_digits_below_the_microsecond_take_the_place_of_the_rank() -> None:
    assert {event_version(kind, 100_000 + finer) for kind in EVENT_TYPES for finer in (1, 999)} == {403 * 256}


@given(st.integers(1, LAST_TIMESTAMP), st.sampled_from(EVENT_TYPES))
def test_the_version_is_a_positive_64_bit_integer(timestamp: int, kind: str) -> None:
    assert 0 < event_version(kind, timestamp) < 2**63


@given(st.integers(1, LAST_TIMESTAMP - 1000), st.sampled_from(EVENT_TYPES), st.sampled_from(EVENT_TYPES))
def test_an_event_of_a_later_microsecond_is_above_all_ties_of_an_earlier_one(
    timestamp: int, one: str, other: str
) -> None:
    assert event_version(one, timestamp) + MAX_TIES < event_version(other, timestamp + 1000)


ORDERS = st.tuples(st.integers(1, 3000), st.sampled_from(EVENT_TYPES))


@given(ORDERS, ORDERS)
def test_versions_never_contradict_the_order(one: tuple[int, str], other: tuple[int, str]) -> None:
    first, second = sorted((event(kind, timestamp) for timestamp, kind in (one, other)), key=lambda each: each.order)
    assert first.version <= second.version


@given(st.integers(1, LAST_TIMESTAMP), st.sampled_from(EVENT_TYPES), st.integers(0, MAX_TIES))
def test_a_version_says_its_base_and_its_microsecond(timestamp: int, kind: str, ties: int) -> None:
    base = event_version(kind, timestamp)
    assert base_version(base + ties) == base
    assert version_microseconds(base + ties) == timestamp // 1000


def test_the_position_decides_between_events_of_one_time_and_type() -> None:
    positions = [Position(1, 5, 9), Position(2, 0, 0), Position(2, 0, 1), Position(2, 1, 0), Position(10, 0, 0)]
    orders = [msgspec.structs.replace(event(), position=position).order for position in positions]
    assert orders == sorted(orders, reverse=False)
    assert event().order < orders[0]
    assert str(positions[0]) == "1:5:9"


def test_content_is_what_an_event_says() -> None:
    one = event()
    assert len(one.content) == 8
    assert one.content == msgspec.structs.replace(one, position=Position(1, 2, 3)).content
    assert one.content != msgspec.structs.replace(one, body=b'{"a":1}').content
    assert one.content != msgspec.structs.replace(one, source="other").content
    assert event(DELETED).content != msgspec.structs.replace(event(DELETED), transaction=OTHER).content


def test_copies_of_an_event_have_one_message_id() -> None:
    assert event().message_id == event().message_id
    assert re.fullmatch("[0-9a-f]{32}", event().message_id)
    assert event().key == bytes.fromhex(event().message_id)
    assert event().message_id == message_id("a", CREATED, NOON)


@pytest.mark.parametrize("other", [event(UPDATED), event(timestamp=NOON + 1), event(identifier="b")])
def test_another_type_time_or_transaction_is_another_event(other: Event) -> None:
    assert other.message_id != event().message_id


def test_an_id_cannot_imitate_a_version() -> None:
    assert message_id("1:0:a", CREATED, 2) != message_id("a", CREATED, 2)
    assert message_id("0:a", CREATED, 2) != message_id("a", CREATED, 20)


@pytest.mark.parametrize(("kind", "deleted"), [(CREATED, False), (UPDATED, False), (DELETED, True)])
def test_only_a_deletion_deletes(kind: str, deleted: bool) -> None:
    assert event(kind).deleted is deleted
