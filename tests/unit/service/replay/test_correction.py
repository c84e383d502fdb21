"""What users change in dead letters."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from activity_indexer.errors import EventError
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.replay.correction import (
    Replacement,
    WrongCorrection,
    corrected,
    parse_correction,
    read_json,
    write_json,
)

LATEST = 2**62
VALUE = b"""{"event_type": "transaction.created", "timestamp": "2024-01-01T12:00:00Z", "transaction": {"id": "a",
"user_id": "u", "transaction_type": "card", "status": "s", "amount": 12.50, "created_at": "2024-01-01T12:00:00Z"}}"""
CURRENCY = b'{"transaction": {"currency": "EUR"}}'


def apply(patch: object, value: bytes) -> bytes:
    return parse_correction(json.dumps(patch).encode()).apply(value)


@pytest.mark.parametrize(
    ("target", "patch", "wanted"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a"], {"a": 1}, {"a": 1}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_standard_says(target: object, patch: object, wanted: object) -> None:
    assert json.loads(apply(patch, json.dumps(target).encode())) == wanted


def test_a_json_patch_does_all_of_its_operations_for_every_value_again() -> None:
    patch = parse_correction(
        b'[{"op":"test","path":"/a","value":1.0},{"op":"add","path":"/o","value":{}},{"op":"add","path":"/o/z","value":1}]'
    )
    assert json.loads(patch.apply(b'{"a": 1}')) == {"a": 1, "o": {"z": 1}}
    assert json.loads(patch.apply(b'{"a": 1}')) == {"a": 1, "o": {"z": 1}}
    with pytest.raises(EventError, match="not equal"):
        patch.apply(b'{"a": 2}')


@pytest.mark.parametrize(
    "patch", [b"", b"{", b"3", b'"x"', b"[1]", b'[{"op": "nop", "path": "/a"}]', b'[{"path": "/a"}]']
)
def test_what_is_no_correction_is_refused_at_once(patch: bytes) -> None:
    with pytest.raises(WrongCorrection):
        parse_correction(patch)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[NaN]", b"\xff", b"[" * 100_000])
def test_a_value_that_is_no_json_cannot_be_patched(value: bytes | None) -> None:
    for patch in (CURRENCY, b'[{"op": "remove", "path": "/a"}]'):
        with pytest.raises(EventError):
            parse_correction(patch).apply(value)


def test_numbers_keep_their_digits() -> None:
    numbers = b"12.50, 1e400, -0, 1E-7, 123456789012345678901234567890.10, 0.1"
    assert apply({"x": 1}, b'{"n": [' + numbers + b"]}") == b'{"n": [' + numbers + b'], "x": 1}'
    assert parse_correction(b'{"amount": 1.10}').apply(b"{}") == b'{"amount": 1.10}'


def test_of_keys_that_come_twice_the_last_stays() -> None:
    assert apply({}, b'{"k": 1, "k": 2}') == b'{"k": 2}'


def test_a_corrected_value_is_an_event_or_not_sent() -> None:
    value, event = corrected(parse_correction(CURRENCY), VALUE, LATEST)
    assert b'"currency": "EUR"' in value
    assert event == decode_event(value, LATEST)
    with pytest.raises(EventError, match="currency"):
        corrected(parse_correction(b'{"source": "x"}'), VALUE, LATEST)
    with pytest.raises(EventError):
        corrected(Replacement(b"{"), VALUE, LATEST)


def test_a_fingerprint_says_corrections_apart() -> None:
    assert parse_correction(CURRENCY).fingerprint == parse_correction(CURRENCY).fingerprint
    others = {parse_correction(b"{}").fingerprint, parse_correction(b"[]").fingerprint, Replacement(b"{}").fingerprint}
    assert len(others) == 3


VALUES = some.recursive(
    some.none()
    | some.booleans()
    | some.text(some.characters(codec="utf-8"))
    | some.integers()
    | some.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: (
        some.lists(inner, max_size=4) | some.dictionaries(some.text(some.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=50)
@given(VALUES, some.sampled_from([None, 2]))
def test_what_is_written_reads_as_it_was(value: object, indent: int | None) -> None:
    text = json.dumps(value, default=lambda number: float(number) if isinstance(number, Decimal) else number)
    found = read_json(text)
    assert read_json(write_json(found, indent)) == found
    assert json.loads(write_json(found, indent)) == json.loads(text)
