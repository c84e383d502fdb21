"""RFC 3339 timestamps to nanoseconds or microseconds since 1970-01-01T00:00:00Z, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_SEPARATORS = ("--T::.", "--T::Z")
"""Each third character of `2024-01-01T12:00:00Z` from the fifth on, with and without a fraction of the second."""
_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:", re.ASCII)
_LONGEST_USUAL = len("2024-01-01T12:00:00.123456+05:30")
_OFFSET = re.compile(r"(?:Z|([+-])(0\d|1[0-7]|18(?=:00)):([0-5]\d))?", re.ASCII)
"""Offsets that Elasticsearch reads, too."""
_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}):(\d{2})(?:\.(\d+))?([Zz]|[+-]\d{2}:\d{2})?", re.ASCII)
_SEARCHABLE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-7]):[0-5]\d|[+-]18:00)?", re.ASCII
)


def parse_nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch; without an offset the time is UTC, digits beyond nanoseconds are cut.

    Raises ValueError when the text is not an RFC 3339 timestamp.
    """
    found = usual_nanoseconds(text)
    return _parse_any(text) if found is None else found


def usual_nanoseconds(text: str) -> int | None:
    """The nanoseconds of a timestamp as producers write it: `2024-01-01T12:00:00[.123[456]][Z|+05:30]`; else None.

    Elasticsearch reads what is usual.
    """
    plain = plain_nanoseconds(text)
    if plain is not None or len(text) > _LONGEST_USUAL or not text.isascii():
        return plain
    fraction, offset = (text[20:26], text[26:]) if text[19:20] == "." else ("000000", text[19:])
    if not fraction.isdigit():
        fraction, offset = f"{text[20:23]}000", text[23:]
    digits = text[17:19] + fraction
    if len(digits) != len("59999999") or not digits.isdigit() or digits >= "6":
        return None
    minute, ahead = _minute(text[:17]), _ahead(offset)
    return None if minute is None or ahead is None else minute + int(digits) * 1000 - ahead


def plain_nanoseconds(text: str) -> int | None:
    """The nanoseconds of a timestamp as it is written here, and by most producers: `2024-01-01T12:00:00[.123456]Z`."""
    if len(text) not in (20, 27) or text[4:20:3] not in _SEPARATORS or text[-1] != "Z" or "\0" in text:
        return None
    try:
        since = datetime.fromisoformat(text) - EPOCH
    except ValueError:
        return None
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


@lru_cache(4096)
def _minute(text: str) -> int | None:
    """The nanoseconds at which a minute begins: `2024-01-01T12:00:`."""
    if not _MINUTE.fullmatch(text):
        return None
    try:
        return _microseconds(datetime.fromisoformat(f"{text}00Z") - EPOCH) * 1000
    except ValueError:
        return None


@lru_cache(256)
def _ahead(offset: str) -> int | None:
    """The nanoseconds that a local time is ahead of UTC."""
    match = _OFFSET.fullmatch(offset)
    if match is None:
        return None
    sign, hour, minute = match.groups()
    ahead = (int(hour or 0) * 60 + int(minute or 0)) * 60_000_000_000
    return -ahead if sign == "-" else ahead


def parse_timestamp(text: str) -> int:
    """Microseconds since the epoch, digits beyond microseconds are cut; otherwise as `parse_nanoseconds`."""
    return parse_nanoseconds(text) // 1000


def is_date(text: str) -> bool:
    """Whether the text is an RFC 3339 timestamp that Elasticsearch reads, too."""
    try:
        return usual_nanoseconds(text) is not None or (is_searchable(text) and parse_nanoseconds(text) is not None)
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
    date, minute, second, fraction, offset = match.groups("")
    if offset[1:3] > "23" or offset[4:] > "59":  # `fromisoformat` takes 75 minutes for an hour and a quarter
        raise ValueError(f"offset must be within 23:59, is {offset[1:]}, got {shorten(text)!r}")
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{date}T{minute}:{59 if leap else second}{offset.upper() or 'Z'}")
    except ValueError as error:
        raise ValueError(f"{error}, got {shorten(text)!r}") from None
    nanoseconds = int(fraction[:9].ljust(9, "0")) if fraction else 0
    return _microseconds(moment - EPOCH) * 1000 + nanoseconds + (1_000_000_000 if leap else 0)


def _microseconds(since: timedelta) -> int:
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


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
