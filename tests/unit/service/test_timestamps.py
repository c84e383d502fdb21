"""RFC 3339 to nanoseconds or microseconds, and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.timestamps import (
    format_nanoseconds,
    format_timestamp,
    is_plain,
    parse_nanoseconds,
    parse_timestamp,
    shorten,
)

NOON = 1_704_110_400_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01T12:00:00Z", NOON),
        ("2024-01-01T12:00:00", NOON),
        ("2024-01-01T12:00:00z", NOON),
        ("2024-01-01t12:00:00Z", NOON),
        ("2024-01-01 12:00:00", NOON),
        ("2024-01-01T12:00:00+00:00", NOON),
        ("2024-01-01T12:00:00-00:00", NOON),
        ("2024-01-01T14:30:00+02:30", NOON),
        ("2024-01-01T07:00:00-05:00", NOON),
        ("2024-01-01T12:00:00.5Z", NOON + 500_000),
        ("2024-01-01T12:00:00.000001Z", NOON + 1),
        ("2024-01-01T12:00:00.0000019Z", NOON + 1),
        ("2024-01-01T12:00:00.123456789+00:00", NOON + 123_456),
        ("2023-12-31T23:59:60Z", NOON - 43_200_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
    ],
)
def test_rfc_3339_is_read_to_the_microsecond(text: str, expected: int) -> None:
    assert parse_timestamp(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1704110400",
        "2024-01-01",
        "2024-01-01T12:00",
        "2024-01-01T12:00Z",
        "2024-01-01T120000.1Z",
        "2024-01-01T12:00,12Z",
        "2024-01-01T12:00.12Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T12:60:00Z",
        "2024-01-01T12:00:61Z",
        "2024-02-30T12:00:00Z",
        "2023-02-29T12:00:00Z",
        "2024-13-01T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T12:00:00+24:00",
        "2024-01-01T12:00:00+01:60",
        "2024-01-01T12:00:00+0100",
        "2024-01-01T12:00:00.Z",
        "2024-01-01T12:00:00Z ",
        "2024-01-01T12:00:00Z\n",
        "٢٠٢٤-01-01T12:00:00Z",
        "-2024-01-01T12:00:00Z",
        "10000-01-01T00:00:00Z",
        "2024-W01-1T12:00:00Z",
    ],
)
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="got") as refused:
        parse_timestamp(text)
    assert repr(text) in str(refused.value)


def test_a_long_text_is_quoted_in_part() -> None:
    with pytest.raises(ValueError, match="…") as refused:
        parse_timestamp("x" * 10_000)
    assert len(str(refused.value)) < 200


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001 - the zone is drawn
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_every_time_in_every_zone_is_the_same_instant(local: datetime, offset: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset)))
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_timestamp(moment.isoformat()) == expected


@given(st.integers(0, 253_402_300_799_999_999))
def test_what_is_written_is_read_back(microseconds: int) -> None:
    assert parse_timestamp(format_timestamp(microseconds)) == microseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2024-01-01T12:00:00Z", NOON * 1000),
        ("2024-01-01T12:00:00.000001Z", NOON * 1000 + 1000),
        ("2024-01-01T12:00:00.1Z", NOON * 1000 + 100_000_000),
        ("2024-01-01T12:00:00.123456789Z", NOON * 1000 + 123_456_789),
        ("2024-01-01T12:00:00.1234567899Z", NOON * 1000 + 123_456_789),
        ("2024-01-01T14:00:00.0000001+02:00", NOON * 1000 + 100),
        ("2023-12-31T23:59:60.5Z", NOON * 1000 - 43_200_000_000_000 + 500_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_nine_digits_of_a_second_are_read(text: str, nanoseconds: int) -> None:
    assert parse_nanoseconds(text) == nanoseconds


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (NOON * 1000, "2024-01-01T12:00:00Z"),
        (NOON * 1000 + 1000, "2024-01-01T12:00:00.000001Z"),
        (NOON * 1000 + 1, "2024-01-01T12:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_nanoseconds_are_written_when_there_are_any(nanoseconds: int, text: str) -> None:
    assert format_nanoseconds(nanoseconds) == text


@given(st.integers(-62_135_596_800_000_000_000, 253_402_300_799_999_999_999))
def test_nanoseconds_that_are_written_are_read_back(nanoseconds: int) -> None:
    assert parse_nanoseconds(format_nanoseconds(nanoseconds)) == nanoseconds


@given(st.text("0123456789-:.,TZWtz+ ", min_size=19, max_size=28))
def test_a_plain_text_means_what_the_full_grammar_says(text: str) -> None:
    try:
        parsed = parse_timestamp(text)
    except ValueError:
        return
    if is_plain(text):
        assert format_timestamp(parsed).rstrip("Z") == text.removesuffix(".000000Z").rstrip("Z")


@pytest.mark.parametrize("text", ["2024-06-30T23:59:60Z", "2024-01-01T120000.1Z", "2024-01-01 12:00:00Z"])
def test_what_a_date_field_would_not_take_is_not_plain(text: str) -> None:
    assert not is_plain(text)


def test_short_texts_stay_whole() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"
