"""Invalid events are invalid by the rules of events, each for the reason it names."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activity_loadgen.generate import generate
from activity_loadgen.invalid import ALL_KINDS, HOSTILE_KINDS, INVALID_KINDS, break_event
from activity_loadgen.options import LoadOptions, OptionError

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "event_type": "transaction.updated",
    "transaction": {
        "id": "tx-1",
        "user_id": "u-1",
        "transaction_type": "card",
        "product": "Card",
        "status": "completed",
        "currency": "USD",
        "amount": 12.5,
        "created_at": "2024-01-01T12:00:00Z",
        "metadata": {},
    },
    "timestamp": "2024-01-01T12:00:00Z",
    "source": "test",
}


TEXTS = ("id", "user_id", "transaction_type", "status", "currency", "created_at")


def in_utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def refuse(text: str) -> float:
    raise ValueError(text)


def finite(text: str) -> float:
    number = float(text)
    return refuse(text) if number in {float("inf"), float("-inf")} else number


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else refuse("a repeated key")  # type: ignore[return-value]


def acceptable(value: bytes | None) -> bool:
    """The rules, written down a second time and plainly."""
    try:
        text = (value or b"").decode("utf-8")
        event = json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=without_repeats)
        json.dumps(event, ensure_ascii=False).encode()  # no lone surrogate
        transaction = event["transaction"]
        moment = in_utc(event["timestamp"])
        texts = [transaction.get(name) for name in TEXTS]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return (
        event.get("event_type") in {"transaction.created", "transaction.updated", "transaction.deleted"}
        and all(isinstance(text, str) and text for text in texts)
        and len(transaction["id"].encode()) <= 512
        and isinstance(transaction.get("amount"), (int, float))
        and len(str(transaction["amount"])) <= 256
        and isinstance(transaction.get("metadata", {}), dict)
        and not {"_id", "_version", "_source"} & set(transaction)
        and moment < NOW + timedelta(days=1)
    )


def test_the_event_they_are_made_from_is_acceptable() -> None:
    assert acceptable(json.dumps(GOOD).encode())


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_each_kind_is_unacceptable(kind: str) -> None:
    assert not acceptable(break_event(kind, json.dumps(GOOD).encode()))


def test_all_valid_events_are_acceptable() -> None:
    start_us = int(NOW.timestamp() * 1_000_000)
    options = LoadOptions(count=300, seed=1, start_us=start_us, update_ratio=1, delete_ratio=0.5, invalid_ratio=0.5)
    for event in generate(options):
        assert acceptable(event.value) == (event.reason is None), event


def test_all_kinds_take_part() -> None:
    options = LoadOptions(count=2000, seed=1, invalid_ratio=1, update_ratio=0)
    assert {event.reason for event in generate(options)} - {None} == set(INVALID_KINDS)


def test_kinds_can_be_chosen() -> None:
    options = LoadOptions(count=50, seed=1, invalid_ratio=1, invalid_kinds=("nan_amount", "utf16"))
    reasons = Counter(event.reason for event in generate(options) if event.reason)
    assert set(reasons) == {"nan_amount", "utf16"}
    assert reasons.total() == 50


def test_further_kinds_come_only_when_they_are_named() -> None:
    options = LoadOptions(count=100, seed=1, invalid_ratio=1, invalid_kinds=tuple(HOSTILE_KINDS))
    assert {event.reason for event in generate(options)} - {None} == set(HOSTILE_KINDS)
    assert not INVALID_KINDS.keys() & HOSTILE_KINDS.keys()


def test_a_kind_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="got 'sloppy'"):
        replace(LoadOptions(), invalid_kinds=("sloppy",))


def test_an_invalid_event_is_newer_than_the_transaction_it_would_spoil() -> None:
    start_us = int(NOW.timestamp() * 1_000_000)
    options = LoadOptions(
        count=50, seed=1, start_us=start_us, invalid_ratio=1, delete_ratio=0.5, invalid_kinds=("text_amount",)
    )
    newest: dict[str, datetime] = {}
    for event in generate(options):
        moment = in_utc(json.loads(event.value or b"")["timestamp"])
        assert moment >= newest.get(event.transaction_id, NOW)
        newest[event.transaction_id] = moment
