"""RFC 3339 to nanoseconds or microseconds, and back."""

from datetime import UTC, datetime, timedelta, timezone
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer import timestamps
from activity_indexer.timestamps import (
    format_nanoseconds,
    format_timestamp,
    is_date,
    is_searchable,
    parse_nanoseconds,
    parse_timestamp,
    plain_nanoseconds,
    shorten,
    usual_nanoseconds,
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
        "2024-01-01T12:00:00Z\0",
        "2024-01-01T12:00:00Z\0abcdeZ",
        "2024-01-01T12:00:00.1Z\0abZ",
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


TEXTS = (
    st.text("0123456789-:.,TZWtz+ \0", min_size=19, max_size=33)
    | st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]*)?", fullmatch=True)
    | st.builds(
        "{}{}{}".format,
        st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds")),
        st.sampled_from(["", "."]) | st.from_regex(r"[.,][0-9]{1,9}|\.[0-9]{6}", fullmatch=True),
        st.sampled_from(["", "Z", "z", "+0", "Z0"]) | st.from_regex(r"[+-][0-9]{2}:?[0-9]{2}", fullmatch=True),
    )
)
"""Timestamps, and what looks like them."""


def outcome(text: str) -> int | str:
    try:
        return parse_nanoseconds(text)
    except ValueError as error:
        return str(error)


@given(TEXTS)
def test_a_text_that_is_parsed_quickly_means_what_the_grammar_says(text: str) -> None:
    quick = outcome(text)
    with patch.object(timestamps, "usual_nanoseconds", lambda _: None):
        assert quick == outcome(text)


@given(TEXTS)
def test_a_plain_text_is_what_would_be_written(text: str) -> None:
    nanoseconds = plain_nanoseconds(text)
    if nanoseconds is not None:
        assert format_nanoseconds(nanoseconds).rstrip("Z") == text.removesuffix(".000000Z").rstrip("Z")
    if usual_nanoseconds(text) is not None:
        assert is_searchable(text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2024-01-01T12:00:00Z", 1704110400_000000000),
        ("2024-01-01T12:00:00.123Z", 1704110400_123000000),
        ("2024-01-01T12:00:59.123456", 1704110459_123456000),
        ("2024-01-01T17:30:00.000001+05:30", 1704110400_000001000),
        ("2024-01-01T00:00:00.5Z", None),
        ("2024-01-01T12:00:00.123456789Z", None),
        ("2024-01-01T12:00:00.12345٦Z", None),
        ("2024-01-01T12:00:0_.123456Z", None),
        ("2024-02-30T12:00:00Z", None),
        ("2024-01-01T12:00:00-18:01", None),
        ("2024-01-01T12:00:00-18:00", 1704110400_000000000 + 18 * 3600 * 10**9),
    ],
)
def test_what_is_usual(text: str, nanoseconds: int | None) -> None:
    assert usual_nanoseconds(text) == nanoseconds


@given(TEXTS)
def test_a_date_is_a_timestamp_that_elasticsearch_reads(text: str) -> None:
    assert is_date(text) == (isinstance(outcome(text), int) and is_searchable(text))


@pytest.mark.parametrize("text", ["2024-01-01T12:00:00.123456+01:60", "2024-01-01T12:00:00.123456+24:00"])
def test_an_offset_that_no_zone_has_is_refused_with_six_digits_too(text: str) -> None:
    with pytest.raises(ValueError, match="offset must be within 23:59"):
        parse_nanoseconds(text)


@pytest.mark.parametrize("text", ["2024-06-30T23:59:60Z", "2024-01-01T120000.1Z", "2024-01-01 12:00:00Z"])
def test_what_a_date_field_would_not_take_is_not_usual(text: str) -> None:
    assert usual_nanoseconds(text) is None


def test_short_texts_stay_whole() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"
