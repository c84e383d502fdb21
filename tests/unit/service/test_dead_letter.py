"""The dead-letter record."""

import pytest
from fixtures.events import NOW
from fixtures.records import Reported, headers, undecoded

from activity_indexer.dead_letter import MAX_MESSAGE, Failure, dead_letter
from activity_indexer.errors import DecodeError, DocumentError, EnrichmentError, EventError, ValidationError
from activity_indexer.ports import Content, HeaderName, Truncation


def failure(error: EventError | None = None, message_id: str | None = "abc") -> Failure:
    return Failure(error or DocumentError("mapper", "no"), 4, NOW - 60, NOW, message_id)


def test_key_and_value_are_the_original_bytes() -> None:
    found = dead_letter(Reported(b"\xff\x00", key=b"\xfe"), failure())
    assert (found.key, found.value) == (b"\xfe", b"\xff\x00")
    found = dead_letter(Reported(None, key=None), failure())
    assert (found.key, found.value) == (None, None)


def test_headers_say_where_from_and_why() -> None:
    record = Reported(b"x", offset=12, partition=3, topic="t", timestamp=1_704_110_400_123)
    assert headers(dead_letter(record, failure())) == {
        "topic": "t",
        "partition": "3",
        "offset": "12",
        "timestamp": "2024-01-01T12:00:00.123000Z",
        "stage": "index",
        "error": "mapper",
        "message": "no",
        "attempts": "4",
        "first-failure": "2024-01-01T12:59:00Z",
        "last-failure": "2024-01-01T13:00:00Z",
        "message-id": "abc",
    }


@pytest.mark.parametrize(
    ("error", "stage"),
    [
        (DecodeError("c", "m"), "decode"),
        (ValidationError("c", "m"), "validate"),
        (EnrichmentError("c", "m"), "enrich"),
        (DocumentError("c", "m"), "index"),
    ],
)
def test_the_stage_is_the_errors(error: EventError, stage: str) -> None:
    assert headers(dead_letter(Reported(b"x"), failure(error)))["stage"] == stage


def test_what_has_no_message_id_has_no_header_for_it() -> None:
    assert "message-id" not in headers(dead_letter(Reported(None), failure(message_id=None)))


@pytest.mark.parametrize(
    "text", [b"9999-12-31T23:59:59-01:00", b"0001-01-01T00:00:00+01:00", b"9999-12-31T23:59:60Z", b"x"]
)
def test_a_first_failure_that_no_calendar_has_is_not_taken_over(text: bytes) -> None:
    record = Reported(b"x", headers=[("replay-first-failure", text)])
    assert headers(dead_letter(record, failure()))["first-failure"] == "2024-01-01T12:59:00Z"


def test_original_headers_are_kept_in_their_order_also_twice() -> None:
    kept = [("traceparent", b"00-1-2-01"), ("x", b"1"), ("x", b"\xff")]
    assert list(dead_letter(Reported(b"x", headers=kept), failure()).headers)[:3] == kept


def test_headers_of_an_earlier_stay_give_way() -> None:
    found = dead_letter(
        Reported(b"x", headers=[("dead-letter-error", b"old"), ("dead-letter-note", b"old")]), failure()
    )
    assert [value for name, value in found.headers if name == "dead-letter-error"] == [b"mapper"]
    assert b"old" not in [value for _, value in found.headers]


def test_a_long_message_is_cut() -> None:
    found = headers(dead_letter(Reported(b"x"), failure(DocumentError("c", "é" * 10_000))))
    assert found["message"] == "é" * MAX_MESSAGE


def test_a_message_that_is_no_utf_8_is_no_obstacle() -> None:
    assert headers(dead_letter(Reported(b"x"), failure(DocumentError("c", "a\ud800b"))))["message"] == "a?b"


@pytest.mark.parametrize(
    ("timestamp", "reported"),
    [(-1, "1970-01-01T00:00:00Z"), (2**62, "9999-12-31T23:59:59.999000Z")],
)
def test_a_timestamp_that_no_calendar_has_is_no_obstacle(timestamp: int, reported: str) -> None:
    assert headers(dead_letter(Reported(b"x", timestamp=timestamp), failure()))["timestamp"] == reported


def test_what_could_not_be_decoded_says_what_its_value_is_and_which_offsets_it_stands_for() -> None:
    found = dead_letter(undecoded(b"raw", 19, first=10, content=Content.BATCH), failure(DecodeError("c", "m")))
    reported = headers(found)
    assert (found.key, found.value) == (None, b"raw")
    assert (reported["offset"], reported["first-offset"], reported["content"]) == ("19", "10", "batch")
    assert not {"truncated", "size", "sha256"} & reported.keys()


def test_what_was_too_large_to_be_read_says_how_large_it_was() -> None:
    record = undecoded(b"beginning", 19, truncation=Truncation(300, "abc"), content=Content.VALUE)
    reported = headers(dead_letter(record, failure(DecodeError("c", "m"))))
    assert (reported["truncated"], reported["size"], reported["sha256"], reported["content"]) == (
        "true",
        "300",
        "abc",
        "value",
    )
    assert "first-offset" not in reported


def test_headers_whose_names_are_not_utf8_are_kept() -> None:
    kept = [(HeaderName.of(b"\xffdead-letter-stage"), b"1")]
    assert list(dead_letter(Reported(b"x", headers=kept), failure()).headers)[:1] == kept


def test_a_value_that_claims_to_be_raw_is_not_believed() -> None:
    record = Reported(b"x", headers=[("dead-letter-content", b"batch"), ("dead-letter-truncated", b"true")])
    assert not {"content", "truncated"} & headers(dead_letter(record, failure())).keys()
