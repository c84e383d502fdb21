"""The event version and the message id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.event import CREATED, DELETED, EVENT_TYPES, UPDATED, Event, Transaction, event_version, message_id

LATEST = 253_402_300_799_999_999


def event(kind: str = CREATED, timestamp: int = 1_704_110_400_000_000, identifier: str = "a") -> Event:
    transaction = Transaction(id=identifier, user_id="u")
    return Event(kind, transaction, b"{}", timestamp, "", event_version(kind, timestamp))


def test_the_version_is_microseconds_times_four_and_the_rank() -> None:
    assert [event_version(kind, 100) for kind in (CREATED, UPDATED, DELETED)] == [400, 401, 402]


@given(st.integers(1, LATEST), st.sampled_from(EVENT_TYPES))
def test_the_version_is_a_positive_64_bit_integer(timestamp: int, kind: str) -> None:
    assert 0 < event_version(kind, timestamp) < 2**63


@given(st.integers(1, LATEST - 1), st.sampled_from(EVENT_TYPES), st.sampled_from(EVENT_TYPES))
def test_a_later_event_has_the_greater_version_whatever_its_type(timestamp: int, one: str, other: str) -> None:
    assert event_version(one, timestamp) < event_version(other, timestamp + 1)


def test_copies_of_an_event_have_one_message_id() -> None:
    assert event().message_id == event().message_id
    assert re.fullmatch("[0-9a-f]{32}", event().message_id)


@pytest.mark.parametrize("other", [event(UPDATED), event(timestamp=1_704_110_400_000_001), event(identifier="b")])
def test_another_type_time_or_transaction_is_another_event(other: Event) -> None:
    assert other.message_id != event().message_id


def test_an_id_cannot_imitate_a_version() -> None:
    assert message_id("2:a", 1) != message_id("a", 12)
    assert message_id("a", 12) != message_id("2:a", 1)


@pytest.mark.parametrize(("kind", "deleted"), [(CREATED, False), (UPDATED, False), (DELETED, True)])
def test_only_a_deletion_deletes(kind: str, deleted: bool) -> None:
    assert event(kind).deleted is deleted
