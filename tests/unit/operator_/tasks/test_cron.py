from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer_operator.kube.time import format_time, parse_time
from activity_indexer_operator.tasks.cron import CronError, check, last_due, next_due

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


def test_a_time_zone_moves_the_times_with_its_summer() -> None:
    summer = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert format_time(next_due("30 6 * * *", NOON, "Europe/Madrid")) == "2026-11-24T05:30:00Z"
    assert format_time(last_due("30 6 * * *", summer, "Europe/Madrid")) == "2026-07-01T04:30:00Z"


def test_an_hour_that_the_clock_skips_or_repeats_is_due_once() -> None:
    for first in (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)):
        due = {last_due("30 2 * * *", first + timedelta(minutes=m), "Europe/Madrid") for m in range(0, 1440, 5)}
        assert len({moment for moment in due if moment > first}) == 1


def test_the_usual_names_stand_for_expressions() -> None:
    assert last_due("@daily", NOON) == NOON.replace(hour=0)


def test_an_unknown_time_zone_is_reported() -> None:
    assert "time zone such as Europe/Madrid, got Mars/Olympus" in str(check("0 3 * * *", "Mars/Olympus"))


@pytest.mark.parametrize("wrong", ["", "daily", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "0 0 * * FOO"])
def test_what_is_no_expression_is_reported(wrong: str) -> None:
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
