"""Which event a stored document stands for."""

import pytest

from activity_loadgen.state import State, nanoseconds, state_of

BASE = 7 << 10


def test_a_document_stands_for_the_event_at_its_position() -> None:
    source = b'{"event_type":"transaction.updated","_updated_at":"1970-01-01T00:00:01.000000005Z","_position":"9:2:-1"}'
    assert state_of(BASE + 3, source) == State(BASE, (1_000_000_005, 1, 9, 2, -1))


def test_a_tombstone_has_the_rank_of_a_deletion() -> None:
    source = b'{"_deleted_at":"1970-01-01T00:00:02Z","_position":"9:2:5"}'
    assert state_of(BASE, source) == State(BASE, (2_000_000_000, 2, 9, 2, 5))


@pytest.mark.parametrize("source", [b"{}", b'{"event_type":"transaction.updated","_position":"first"}'])
def test_a_document_without_a_position_has_no_place_in_the_order(source: bytes) -> None:
    assert state_of(BASE + 1, source) == State(BASE, None)


def test_the_base_version_decides_before_the_order() -> None:
    order = (5, 1, 9, 0, 0)
    assert State(BASE, order).is_before(BASE + 256, (1, 0, 0, 0, 0))
    assert not State(BASE + 256, order).is_before(BASE, (9, 0, 0, 0, 0))
    assert State(BASE, order).is_before(BASE, (5, 1, 9, 0, 1))
    assert not State(BASE, order).is_before(BASE, order)
    assert not State(BASE, None).is_before(BASE, order)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01", 1_000_000_000),
        ("1970-01-01T05:30:01.25+05:30", 1_250_000_000),
        ("1970-01-01T00:00:01.1234567899Z", 1_123_456_789),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected
