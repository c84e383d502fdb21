from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer_operator.cron import CronError, check, format_time, last_due, next_due, parse_time

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "last", "following"),
    [
        ("*/5 * * * *", "2026-11-23T12:00:00Z", "2026-11-23T12:05:00Z"),
        ("0 12 * * *", "2026-11-23T12:00:00Z", "2026-11-24T12:00:00Z"),
        ("1 12 * * *", "2026-11-22T12:01:00Z", "2026-11-23T12:01:00Z"),
        ("0 3 * * SUN", "2026-11-22T03:00:00Z", "2026-11-29T03:00:00Z"),
        ("0 0 29 2 *", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
    ],
)
def test_an_expression_names_the_last_time_and_the_next(expression: str, last: str, following: str) -> None:
    for second in (0, 59):
        now = NOON + timedelta(seconds=second)
        assert format_time(last_due(expression, now)) == last
        assert format_time(next_due(expression, now)) == following


def test_times_are_utc_whatever_the_clock_shows() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert format_time(last_due("0 12 * * *", elsewhere)) == "2026-11-23T12:00:00Z"


@pytest.mark.parametrize("wrong", ["", "daily", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "0 0 * * FOO"])
def test_what_is_no_expression_is_told(wrong: str) -> None:
    assert "expected" in str(check(wrong))
    with pytest.raises(CronError, match="expected"):
        last_due(wrong, NOON)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - drawn in UTC
def test_the_last_time_is_never_in_the_future_and_the_next_always(now: datetime) -> None:
    last, following = last_due("*/7 3,15 * * *", now), next_due("*/7 3,15 * * *", now)
    assert last <= now < following
    assert next_due("*/7 3,15 * * *", last) == following


def test_times_survive_being_written() -> None:
    assert parse_time(format_time(NOON)) == NOON
