"""Stored dead letters, and what their payload says."""

import json
from types import SimpleNamespace

import pytest
from fixtures.dead_letters import letter
from fixtures.records import undecoded
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.dead_letters.payload import Facts, read_facts
from activity_indexer.dead_letters.record import UNKNOWN, StoredDeadLetter
from activity_indexer.errors import ValidationError
from activity_indexer.ports import Truncation
from activity_indexer.positions import Partition
from activity_indexer.timestamps import format_timestamp, parse_timestamp

NAMES = st.sampled_from(
    [
        "dead-letter-" + name
        for name in ("topic", "partition", "offset", "stage", "attempts", "last-failure", "timestamp")
    ]
    + ["replay-count", "replay-id", "x", ""]
)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=30)), max_size=12)


def test_it_reads_what_the_indexer_writes() -> None:
    record = SimpleNamespace(
        topic="transactions",
        partition=2,
        offset=4711,
        key=b"k",
        value=b"{}",
        headers=[("traceparent", b"00-4bf9")],
        timestamp=1_714_564_799_500,
    )
    failure = Failure(ValidationError("missing_field", "no `id`"), 3, 1_714_564_800.0, 1_714_564_801.5, "abc")
    written = dead_letter(record, failure)  # type: ignore[arg-type]
    found = StoredDeadLetter("d", 0, 9, 5, written.key, written.value, tuple(written.headers))
    assert (found.stage, found.error, found.message, found.attempts) == ("validate", "missing_field", "no `id`", 3)
    assert found.original == (Partition("transactions", 2), 4711)
    assert found.original_timestamp == 1_714_564_799_500_000
    assert (found.first_failure, found.last_failure) == (1_714_564_800_000_000, 1_714_564_801_500_000)
    assert (found.message_id, found.header("traceparent"), found.place) == ("abc", "00-4bf9", "0:9")
    assert found.original_headers == (("traceparent", b"00-4bf9"),)
    assert found.unreadable == ()
    assert list(found.as_record().headers) == list(written.headers)


@pytest.mark.parametrize("text", [b"9999-12-31T23:59:59-01:00", b"0001-01-01T00:00:00+01:00"])
@pytest.mark.parametrize("timestamp", [-5, 2**60])
def test_times_that_no_calendar_has_can_be_shown_all_the_same(text: bytes, timestamp: int) -> None:
    found = StoredDeadLetter("d", 0, 0, timestamp, None, None, (("dead-letter-last-failure", text),))
    assert found.last_failure is None
    assert format_timestamp(found.failed_at) in ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999000Z")


def test_a_foreign_record_is_reported_as_such() -> None:
    found = StoredDeadLetter("d", 0, 0, 17, None, None, (("x", None),))
    assert (found.stage, found.error, found.message) == (UNKNOWN, UNKNOWN, "")
    assert found.original is None
    assert found.failed_at == 17_000
    assert len(found.unreadable) == 9
    assert found.facts == Facts()


@given(HEADERS, st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=10))
def test_nothing_that_a_record_holds_makes_it_fail(
    headers: list[tuple[str, bytes | None]], value: bytes | None, key: bytes | None
) -> None:
    found = StoredDeadLetter("d", 0, 0, -1, key, value, tuple(headers))
    assert isinstance(found.stage, str)
    assert isinstance(found.failed_at, int)
    assert isinstance(found.facts, Facts)
    assert found.replay_count >= 0
    assert (found.original is None) == any(
        "topic" in each or "offset" in each or "partition" in each for each in found.unreadable
    )
    assert [header for header in found.headers if header in found.original_headers] == list(found.original_headers)


@pytest.mark.parametrize(
    ("name", "text"),
    [("partition", "-1"), ("offset", "٣"), ("attempts", "1e3"), ("offset", "9" * 19), ("last_failure", "yesterday")],
)
def test_a_damaged_header_is_named(name: str, text: str) -> None:
    (problem,) = letter(**{name: text}).unreadable
    assert problem.startswith(f"dead-letter-{name.replace('_', '-')}: expected ")


def test_of_a_header_that_comes_twice_the_last_counts() -> None:
    assert letter(headers=[("dead-letter-stage", b"decode")]).stage == "validate"


def test_a_replay_is_reported() -> None:
    found = letter(headers=[("replay-id", b"r-1"), ("replay-count", b"2")])
    assert (found.replay_id, found.replay_count) == ("r-1", 2)
    assert letter(headers=[("replay-count", b"many")]).unreadable == ("replay-count: expected a number, got 'many'",)


def test_equal_means_that_all_that_is_stored_is_equal() -> None:
    assert letter() == letter()
    assert letter() != replace(letter(), offset=8)


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        (
            b'{"event_type":"transaction.created","transaction":{"id":"t","user_id":"u"},"timestamp":"x"}',
            ("transaction.created", "t", "u", "x"),
        ),
        (b'{"event_type":7,"transaction":{"id":{"a":1},"user_id":null}}', ("7", '{"a":1}', "key", "")),
        (b'{"event_type":"a","transaction":[1]}', ("a", "", "key", "")),
        (b'{"event_type":"a","transaction":{"id":"t\\u00e9","user_id":"u","am', ("a", "t\u00e9", "u", "")),
        (b'\xff"id": "t"', ("", "t", "key", "")),
        (b"[" * 5000, ("", "", "key", "")),
        (b"", ("", "", "key", "")),
    ],
)
def test_the_payload_says_as_much_as_can_be_read(value: bytes, facts: tuple[str, ...]) -> None:
    assert read_facts(value, b"key") == Facts(*facts)


def test_a_payload_of_any_size_is_searched_in_its_beginning_only() -> None:
    late = b'{"x": "' + b"y" * 70_000 + b'", "event_type": "late"'
    assert read_facts(late, None) == Facts()


def test_the_last_failure_is_what_counts() -> None:
    assert letter().failed_at == parse_timestamp("2024-05-01T12:00:01Z")
    assert json.loads(letter().value or b"")["transaction"]["id"] == letter().facts.transaction_id == "t-1"


def test_a_dead_letter_of_several_offsets_says_which() -> None:
    found = letter(first_offset="4700", content="batch")
    assert (found.original_offsets, found.content, found.truncation) == ((4700, 4711), "batch", None)
    assert letter().original_offsets is None


def test_a_truncated_dead_letter_says_how_large_the_original_was_and_where_it_is() -> None:
    found = letter(truncated="true", size="300", sha256="abc")
    assert (found.truncation, found.content) == (Truncation(300, "abc"), "value")
    assert "from transactions 2:4711" in found.incomplete
    assert letter().incomplete == ""


@pytest.mark.parametrize("changes", [{"size": "many"}, {"sha256": None}, {"truncated": None}])
def test_headers_of_a_truncation_that_do_not_fit_together_are_no_truncation(changes: dict[str, str | None]) -> None:
    assert letter(**{"truncated": "true", "size": "300", "sha256": "abc"} | changes).truncation is None


def test_a_record_of_the_dead_letter_topic_that_cannot_be_decoded_is_shown_with_its_bytes() -> None:
    found = StoredDeadLetter.of(undecoded(b"raw", 3))
    assert (found.value, found.stage, found.headers) == (b"raw", "unknown", ())
    assert found.unreadable[0] == "the dead letter itself: it cannot be decoded"
