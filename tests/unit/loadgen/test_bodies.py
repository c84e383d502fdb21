"""Documents are compared with what was sent, number for number."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activity_loadgen.bodies import differences, transaction_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(min_size=1), JSON, max_size=5)


@settings(max_examples=50, deadline=None)
@given(OBJECTS)
def test_a_document_is_like_what_it_was_made_from_however_it_is_spaced(sent: dict[str, object]) -> None:
    added = {**dict(reversed(sent.items())), "_enriched_": True}
    assert differences(json.dumps(sent).encode(), json.dumps(added, indent=2, ensure_ascii=False).encode()) == []


@pytest.mark.parametrize(
    ("sent", "found"),
    [("100.50", "100.5"), ("1", "1.0"), ("1", '"1"'), ("1", "true"), ("0", "false"), ("1e2", "100"), ('"1"', "1"),
     ("9007199254740993", "9007199254740992"), ("null", "0")],
)  # fmt: skip
def test_another_spelling_is_another_value(sent: str, found: str) -> None:
    line = f"amount: sent {sent}, found {found}"
    assert differences(f'{{"amount":{sent}}}'.encode(), f'{{"amount":{found}}}'.encode()) == [line]
    assert differences(f'{{"a":[{{"b":{sent}}}]}}'.encode(), f'{{"a":[{{"b":{found}}}]}}'.encode()) != []


def test_a_lost_field_is_named_and_an_added_one_is_not() -> None:
    assert differences(b'{"a":1,"b":2}', b'{"b":2,"c":3}') == ["a: sent 1, found nothing"]


def test_long_values_are_cut() -> None:
    (line,) = differences(b'{"a":"' + b"x" * 500 + b'"}', b'{"a":1}')
    assert len(line) < 100


def test_the_transaction_keeps_its_bytes() -> None:
    value = b'{"event_type":"transaction.created", "transaction": {"amount":  1.50} ,"timestamp":"x"}'
    assert transaction_of(value) == b'{"amount":  1.50}'
