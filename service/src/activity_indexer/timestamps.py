"""RFC 3339 timestamps to nanoseconds or microseconds since 1970-01-01T00:00:00Z, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:([Zz])|([+-])(\d{2}):(\d{2}))?",
    re.ASCII,
)
_SEARCHABLE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-7]):[0-5]\d|[+-]18:00)?", re.ASCII
)


def parse_nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch; without an offset the time is UTC, digits beyond nanoseconds are cut.

    Raises ValueError when the text is not an RFC 3339 timestamp.
    """
    return parse_plain(text) if is_plain(text) else _parse_any(text)


def parse_plain(text: str) -> int:
    """As `parse_nanoseconds`, for a text that is plain."""
    try:
        return _microseconds(datetime.fromisoformat(text)) * 1000
    except ValueError:
        return _parse_any(text)


def parse_timestamp(text: str) -> int:
    """Microseconds since the epoch, digits beyond microseconds are cut; otherwise as `parse_nanoseconds`."""
    return parse_nanoseconds(text) // 1000


def is_plain(text: str) -> bool:
    """Whether the text has the shape that nearly all producers write: `2024-01-01T12:00:00[.123456]Z`."""
    return (
        len(text) in (20, 27)
        and text[7] == "-"
        and text[10] == "T"
        and text[13] == text[16] == ":"
        and text[17] != "6"  # a leap second
        and text[19] in ".Z"
        and text[-1] == "Z"
    )


def is_searchable(text: str) -> bool:
    """Whether Elasticsearch reads this RFC 3339 timestamp, too.

    It takes no small letters, no blank, no leap second, no more than nine digits of a second, and no offset beyond 18
    hours.
    """
    return is_plain(text) or _SEARCHABLE.fullmatch(text) is not None


def _parse_any(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"expected an RFC 3339 timestamp such as 2024-01-01T12:00:00Z, got {shorten(text)!r}")
    year, month, day, hour, minute, second, fraction, _, sign, offset_hour, offset_minute = match.groups()
    leap = second == "60"
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            59 if leap else int(second),
            tzinfo=_offset(sign, offset_hour, offset_minute) if sign else UTC,
        )
    except ValueError as error:
        raise ValueError(f"{error}, got {shorten(text)!r}") from None
    nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction else 0
    return _microseconds(moment) * 1000 + nanoseconds + (1_000_000_000 if leap else 0)


def _microseconds(moment: datetime) -> int:
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _offset(sign: str, hour: str, minute: str) -> timezone:
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"offset must be within 23:59, is {hour}:{minute}")
    delta = timedelta(hours=int(hour), minutes=int(minute))
    return timezone(-delta if sign == "-" else delta)


def format_timestamp(microseconds: int) -> str:
    """RFC 3339 in UTC with microseconds when there are any: `2024-01-01T12:00:00Z`."""
    return (EPOCH + microseconds * MICROSECOND).isoformat().replace("+00:00", "Z")


def format_nanoseconds(nanoseconds: int) -> str:
    """As `format_timestamp`, with nine digits of a second when there are nanoseconds."""
    microseconds, rest = divmod(nanoseconds, 1000)
    if not rest:
        return format_timestamp(microseconds)
    seconds, micros = divmod(microseconds, 1_000_000)
    return f"{format_timestamp(seconds * 1_000_000)[:-1]}.{micros:06}{rest:03}Z"


def shorten(text: str, limit: int = 80) -> str:
    """The text, cut to `limit` characters, for error messages."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
