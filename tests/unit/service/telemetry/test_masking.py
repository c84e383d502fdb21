import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.telemetry.masking import MASK, MAX_SCAN, MAX_TEXT, masked, masked_text, without_values

PLAIN_RULE = re.compile(
    r"(?P<head>(?:password|secret|api_?key)\w*[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&)}\]]+)", re.IGNORECASE
)
"""What is masked, in one expression: right for short texts, and of quadratic cost for long ones."""

PIECES = ["password", "secret", "api_key", "Apikey", "x", "9", "_", "=", ":", " ", "'", '"', ",", "}", "\n", "é", "-"]


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "sasl_password",
        "KAFKA_SASL_PASSWORD",
        "api_key",
        "apikey",
        "client_secret",
        "Authorization",
        "token",
    ],
)
def test_value_of_a_secret_key_is_masked(key):
    assert masked({key: "hunter2"}) == {key: MASK}


@pytest.mark.parametrize("key", ["key", "tokens", "event_type", "passed", "partition"])
def test_other_keys_are_shown(key):
    assert masked({key: "value"}) == {key: "value"}


def test_whether_a_secret_is_set_may_be_shown():
    assert masked({"password": "", "api_key": None, "has_secret": True}) == {
        "password": "",
        "api_key": None,
        "has_secret": True,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:pw@host/db", f"postgresql://user:{MASK}@host/db"),
        ("redis://:pw@host:6379/0", f"redis://:{MASK}@host:6379/0"),
        ("http://a:p@ss@one:9200,http://b:pw@two:9200", f"http://a:{MASK}@one:9200,http://b:{MASK}@two:9200"),
        ("cannot reach https://u:pw@h: refused", f"cannot reach https://u:{MASK}@h: refused"),
        ("http://elasticsearch:9200/_bulk", "http://elasticsearch:9200/_bulk"),
        ("host=db user=me password=pw sslmode=require", f"host=db user=me password={MASK} sslmode=require"),
        ("{'sasl_plain_password': 'p w', 'x': 1}", f"{{'sasl_plain_password': {MASK}, 'x': 1}}"),
        ("Authorization: ApiKey YWJjOmRlZg==", f"Authorization: ApiKey {MASK}"),
    ],
)
def test_secrets_are_masked_within_text(text, shown):
    assert masked_text(text) == shown


def test_secrets_are_masked_at_any_depth_and_in_the_text_of_objects():
    error = ConnectionError("redis://:pw@host is unavailable")
    assert masked({"a": [{"b": ("x://u:pw@h",)}], "error": error}) == {
        "a": [{"b": [f"x://u:{MASK}@h"]}],
        "error": f"redis://:{MASK}@host is unavailable",
    }


def test_payloads_are_not_shown():
    assert masked({"value": b"secret bytes"}) == {"value": "<12 bytes>"}
    long = masked_text("a" * 100_000)
    assert len(long) < MAX_TEXT + 100
    assert "100000 characters" in long


def test_a_secret_is_masked_before_the_text_is_cut():
    text = masked_text("x" * (MAX_TEXT // 2 - 10) + " http://user:very-secret@host " + "y" * MAX_TEXT)
    assert "very" not in text


def test_deep_and_looping_values_end():
    loop: list[object] = []
    loop.append(loop)
    assert "[...]" in str(masked(loop))


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_what_is_masked_is_what_the_plain_rule_masks(text):
    assert masked_text(text) == PLAIN_RULE.sub(rf"\g<head>{MASK}", text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "a" * 10**6,
        "://" * 10**5,
        "password" * 10**5,
        "'" * 10**6 + ":",
        "secret" * (MAX_SCAN // 6 - 1) + ":",
        "secret" * (MAX_SCAN // 6 - 1) + " = ,",
        "secret" + " " * (MAX_SCAN - 10) + "x",
        "secret='" * (MAX_SCAN // 8),
        "Authorization: basic" + " " * (MAX_SCAN - 30) + ",",
    ],
)
def test_the_cost_of_a_hostile_text_grows_with_its_length(text):
    """At these lengths a quadratic cost is minutes."""
    masked_text(text)
    without_values(text)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "failed to parse field [a] of type [long] in document with id 'tx-1'. Preview of field's value: 'it's 1'",
            "failed to parse field [a] of type [long] in document with id '…'.",
        ),
        ("expected event_type transaction.created, got 'x y'", "expected event_type transaction.created, got …"),
        ('amount: expected a number, got "12', "amount: expected a number, got …"),
        ("Expected `str`, got `int` - at `$.user_id`", "Expected `str`, got `int` - at `$.user_id`"),
        ("id: expected at most 512 bytes, got 600", "id: expected at most 512 bytes, got 600"),
    ],
)
def test_messages_are_shown_without_what_they_quote(message, shown):
    assert without_values(message) == shown
