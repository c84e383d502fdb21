"""What every document gets, whatever its type: day, month, absolute amount and sign."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from msgspec import Raw

from activity_indexer.event import Transaction
from activity_indexer.timestamps import EPOCH, format_timestamp, parse_timestamp, usual_nanoseconds

PROPERTIES: Final[Mapping[str, Any]] = {
    "day": {"type": "date", "format": "strict_date"},
    "month": {"type": "keyword"},
    "amount_absolute": {"type": "double"},
    "sign": {"type": "keyword"},
}
_DAY: Final = 86_400 * 1_000_000_000
_NOT_ZERO: Final = frozenset(bytes([digit]) for digit in b"123456789")


def common_fields(transaction: Transaction) -> dict[str, Any]:
    """`day` and `month` of `created_at` in UTC, `amount_absolute` to its last digit, `sign`."""
    fields: dict[str, Any] = {}
    day = day_of(transaction.created_at)
    if day:
        fields["day"] = day
        fields["month"] = day[:7]
    amount = absolute(bytes(transaction.amount))
    if amount:
        fields["amount_absolute"] = Raw(amount[0])
        fields["sign"] = amount[1]
    return fields


def common_text(created_at: str, amount: bytes) -> tuple[str, bytes]:
    """The day, and the members of `common_fields` as JSON text; no day when one of them is missing."""
    if created_at[-1:] == "Z" and created_at[17:19] != "60" and created_at[10:11] == "T":
        day, dated = _dated(created_at[:10])
    else:
        day = day_of(created_at)
        dated = _members(day)
    if amount[:1] in _NOT_ZERO:
        return day, b'%b%b,"sign":"positive"' % (dated, amount)
    found = absolute(amount)
    return (day, b'%b%b,"sign":"%b"' % (dated, found[0], found[1].encode())) if found else ("", b"")


@lru_cache(maxsize=1024)
def _dated(text: str) -> tuple[str, bytes]:
    day = _known_day(text)
    return day, _members(day)


def _members(day: str) -> bytes:
    return b'"day":"%b","month":"%b","amount_absolute":' % (day.encode(), day[:7].encode())


def absolute(amount: bytes) -> tuple[bytes, str] | None:
    """A JSON number without its sign, and the sign; None when there is none."""
    if amount[:1] in _NOT_ZERO:  # most amounts: nothing to take away
        return amount, "positive"
    amount = amount.strip()
    if not amount:
        return None
    negative = amount.startswith(b"-")
    return amount[negative:], "zero" if is_zero(amount) else "negative" if negative else "positive"


def is_zero(number: bytes) -> bool:
    """Whether a JSON number is zero, however small its exponent."""
    return number.lstrip(b"-0.")[:1] in (b"", b"e", b"E")


def day_of(created_at: str) -> str:
    """The day in UTC, `2024-01-01`; empty when the calendar has none."""
    if created_at[-1:] == "Z" and created_at[17:19] != "60" and created_at[10:11] == "T":
        return _known_day(created_at[:10])
    usual = usual_nanoseconds(created_at)
    return _parsed_day(created_at) if usual is None else _numbered_day(usual // _DAY)


@lru_cache(maxsize=1024)
def _numbered_day(days: int) -> str:
    try:
        return (EPOCH + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return ""


def _parsed_day(created_at: str) -> str:
    try:
        return format_timestamp(parse_timestamp(created_at))[:10]
    except (ValueError, OverflowError):
        return ""


@lru_cache(maxsize=1024)
def _known_day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return ""
