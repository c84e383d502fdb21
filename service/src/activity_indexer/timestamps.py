"""RFC 3339 timestamps to nanoseconds or microseconds since 1970-01-01T00:00:00Z, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_SEPARATORS = ("--T::.", "--T::Z")
"""Each third character of `2024-01-01T12:00:00Z` from the fifth on, with and without a fraction of the second."""
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:([Zz])|([+-])(\d{2}):(\d{2}))?",
    re.ASCII,
)
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(Z|[+-]\d\d:[0-5]\d)?", re.ASCII)
"""What `datetime.fromisoformat` takes as RFC 3339 does: it takes much else, with another meaning or none."""
_SEARCHABLE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-7]):[0-5]\d|[+-]18:00)?", re.ASCII
)


def parse_nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch; without an offset the time is UTC, digits beyond nanoseconds are cut.

    Raises ValueError when the text is not an RFC 3339 timestamp.
    """
    found = plain_nanoseconds(text)
    if found is not None:
        return found
    common = _ISO.fullmatch(text)
    if common is not None:
        try:
            return _microseconds(datetime.fromisoformat(text if common[1] else f"{text}Z") - EPOCH) * 1000
        except ValueError:
            pass
    return _parse_any(text)


def plain_nanoseconds(text: str) -> int | None:
    """The nanoseconds of a timestamp as nearly all producers write it: `2024-01-01T12:00:00[.123456]Z`.

    None for every other text. What is plain is also how timestamps are written here, and Elasticsearch reads it.
    """
    if len(text) not in (20, 27) or text[4:20:3] not in _SEPARATORS or text[-1] != "Z" or "\0" in text:
        return None
    try:
        since = datetime.fromisoformat(text) - EPOCH
    except ValueError:
        return None
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def parse_timestamp(text: str) -> int:
    """Microseconds since the epoch, digits beyond microseconds are cut; otherwise as `parse_nanoseconds`."""
    return parse_nanoseconds(text) // 1000


def is_date(text: str) -> bool:
    """Whether the text is an RFC 3339 timestamp that Elasticsearch reads, too."""
    try:
        return plain_nanoseconds(text) is not None or (is_searchable(text) and parse_nanoseconds(text) is not None)
    except ValueError:
        return False


def is_searchable(text: str) -> bool:
    """Whether Elasticsearch reads this RFC 3339 timestamp, too.

    It takes no small letters, no blank, no leap second, no more than nine digits of a second, and no offset beyond 18
    hours.
    """
    return _SEARCHABLE.fullmatch(text) is not None


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
    return _microseconds(moment - EPOCH) * 1000 + nanoseconds + (1_000_000_000 if leap else 0)


def _microseconds(since: timedelta) -> int:
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _offset(sign: str, hour: str, minute: str) -> timezone:
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"offset must be within 23:59, is {hour}:{minute}")
    delta = timedelta(hours=int(hour), minutes=int(minute))
    return timezone(-delta if sign == "-" else delta)


def format_timestamp(microseconds: int) -> str:
    """RFC 3339 in UTC with microseconds when there are any: `2024-01-01T12:00:00Z`."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = _format_second(seconds)
    return f"{text}.{fraction:06}Z" if fraction else f"{text}Z"


def format_nanoseconds(nanoseconds: int) -> str:
    """As `format_timestamp`, with nine digits of a second when there are nanoseconds."""
    microseconds, rest = divmod(nanoseconds, 1000)
    if not rest:
        return format_timestamp(microseconds)
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return f"{_format_second(seconds)}.{fraction:09}Z"


@lru_cache(1024)  # the events of a moment share it
def _format_second(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).isoformat()[:-6]


def shorten(text: str, limit: int = 80) -> str:
    """The text, cut to `limit` characters, for error messages."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
