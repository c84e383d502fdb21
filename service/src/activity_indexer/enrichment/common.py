"""What every document gets, whatever its type: day, month, absolute amount and sign."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from msgspec import Raw

from activity_indexer.event import Transaction
from activity_indexer.timestamps import format_timestamp, parse_timestamp

PROPERTIES: Final[Mapping[str, Any]] = {
    "day": {"type": "date", "format": "strict_date"},
    "month": {"type": "keyword"},
    "amount_absolute": {"type": "double"},
    "sign": {"type": "keyword"},
}
_NOT_ZERO: Final = frozenset(bytes([digit]) for digit in b"123456789")


def common_fields(transaction: Transaction) -> dict[str, Any]:
    """`day` and `month` of `created_at` in UTC, `amount_absolute` to its last digit, `sign`."""
    fields: dict[str, Any] = {}
    day = day_of(transaction.created_at)
    if day:
        fields["day"] = day
        fields["month"] = day[:7]
    amount = bytes(transaction.amount)
    if amount[:1] in _NOT_ZERO:  # most amounts: nothing to take away
        fields["amount_absolute"] = transaction.amount
        fields["sign"] = "positive"
    elif amount := amount.strip():
        negative = amount.startswith(b"-")
        fields["amount_absolute"] = Raw(amount[negative:])
        fields["sign"] = "zero" if is_zero(amount) else "negative" if negative else "positive"
    return fields


def is_zero(number: bytes) -> bool:
    """Whether a JSON number is zero, however small its exponent."""
    return number.lstrip(b"-0.")[:1] in (b"", b"e", b"E")


def day_of(created_at: str) -> str:
    """The day in UTC, `2024-01-01`; empty when the calendar has none."""
    if created_at[-1:] == "Z" and created_at[17:19] != "60" and created_at[10:11] == "T":
        return _known_day(created_at[:10])
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
