"""The checker's own rule of versions and its comparing of numbers."""

import pytest
from checker.rules import moment, same, version_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from unit.checker.histories import value


def test_a_version_is_four_times_the_microseconds_and_the_rank() -> None:
    assert version_of(value("a", 0)) == 1_704_110_400_000_000 << 10
    assert version_of(value("a", 0, "updated")) == (1_704_110_400_000_000 * 4 + 1) * 256
    assert version_of(value("a", 0, "deleted")) == (1_704_110_400_000_000 * 4 + 2) * 256


def test_a_version_with_nanoseconds_has_no_room_for_the_rank() -> None:
    wanted = (1_704_110_400_000_000 * 4 + 3) * 256
    assert {version_of(value("a", 0, kind, nanosecond=5)) for kind in ("created", "updated", "deleted")} == {wanted}
    assert moment("2024-01-01T12:00:00.1234567899Z") == 1_704_110_400_123_456_789


def test_a_time_without_an_offset_is_utc() -> None:
    assert moment("2024-01-01T12:00:00") == moment("2024-01-01T12:00:00Z") == moment("2024-01-01T17:30:00+05:30")


@given(st.datetimes())
def test_microseconds_are_exact(when) -> None:
    assert moment(when.isoformat()) % 1_000_000_000 == when.microsecond * 1000


@pytest.mark.parametrize(("sent", "found"), [("1.5", "1.5"), ('{"a": 1}', '{"a":1}'), ('"\\u00e9"', '"é"')])
def test_the_same_value_may_be_written_otherwise(sent: str, found: str) -> None:
    assert same(sent.encode(), Raw(found.encode()))


@pytest.mark.parametrize(
    ("sent", "found"), [("1.50", "1.5"), ("9007199254740993", "9007199254740992"), ("1", "1.0"), ("1", '"1"')]
)
def test_numbers_are_compared_digit_for_digit(sent: str, found: str) -> None:
    assert not same(sent.encode(), Raw(found.encode()))
