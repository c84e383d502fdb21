"""Cron expressions in UTC, and times as the API server writes them: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

FIELDS = 5


class CronError(ValueError):
    """The expression cannot be used; the message says what was expected."""


def last_due(expression: str, now: datetime) -> datetime:
    """The newest time at or before `now` (aware) that the expression names, to the minute. Raises CronError."""
    # Backwards, cronsim answers with a time before its start: the current minute counts as passed.
    return _only(expression, datetime.fromtimestamp((int(now.timestamp()) // 60 + 1) * 60, UTC), backwards=True)


def next_due(expression: str, now: datetime) -> datetime:
    """The first time after `now` (aware) that the expression names. Raises CronError."""
    return _only(expression, now.astimezone(UTC), backwards=False)


def check(expression: str) -> str | None:
    """What is wrong with the expression; None when nothing is."""
    try:
        next_due(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronError as error:
        return str(error)
    return None


def parse_time(text: str) -> datetime:
    """An RFC 3339 time. Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)


def format_time(moment: datetime) -> str:
    """To the second, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _only(expression: str, start: datetime, *, backwards: bool) -> datetime:
    if len(expression.split()) != FIELDS:
        raise CronError(f"expected minute, hour, day of month, month, day of week, such as 0 3 * * *, got {expression}")
    try:
        return next(CronSim(expression, start, reverse=backwards))
    except CronSimError as error:
        raise CronError(f"expected a cron expression such as 0 3 * * *, got {expression}: {error}") from error
    except StopIteration:
        raise CronError(f"expected a time that comes, got {expression}, which names none within 50 years") from None
