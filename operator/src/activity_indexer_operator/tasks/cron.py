"""Cron expressions in a time zone: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS: Final = 5
NAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
DEFAULT_ZONE: Final = "Etc/UTC"


class CronError(ValueError):
    """The expression or the zone cannot be used; the message says what was expected."""


def last_due(expression: str, now: datetime, zone: str = DEFAULT_ZONE) -> datetime:
    """The newest time at or before `now` (aware) that the expression names, to the minute. Raises CronError."""
    # Backwards, cronsim answers with a time before its start: the current minute counts as passed.
    start = datetime.fromtimestamp((int(now.timestamp()) // 60 + 1) * 60, _zone(zone))
    return _only(expression, start, backwards=True)


def next_due(expression: str, now: datetime, zone: str = DEFAULT_ZONE) -> datetime:
    """The first time after `now` (aware) that the expression names. Raises CronError."""
    return _only(expression, now.astimezone(_zone(zone)), backwards=False)


def check(expression: str, zone: str = DEFAULT_ZONE) -> str | None:
    """What is wrong with the expression or the zone; None when nothing is."""
    try:
        next_due(expression, datetime(2000, 1, 1, tzinfo=UTC), zone)
    except CronError as error:
        return str(error)
    return None


def _only(expression: str, start: datetime, *, backwards: bool) -> datetime:
    fields = NAMES.get(expression, expression)
    if len(fields.split()) != FIELDS:
        raise CronError(f"expected minute, hour, day of month, month, day of week, such as 0 3 * * *, got {expression}")
    try:
        return next(CronSim(fields, start, reverse=backwards)).astimezone(UTC)
    except CronSimError as error:
        raise CronError(f"expected a cron expression such as 0 3 * * *, got {expression}: {error}") from error
    except StopIteration:
        raise CronError(
            f"expected an expression that fires, got {expression}, which never fires (within 50 years)"
        ) from None


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name == DEFAULT_ZONE else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CronError(f"expected the name of a time zone such as Europe/Madrid, got {name}") from error
