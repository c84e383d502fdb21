"""The records that a replay writes, and what is left of them after a second failure."""

import random
import time

from fixtures.memory.replay import stored
from fixtures.records import Reported
from fixtures.servers.replays import MISSING

from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.dead_letters.earlier import history, original_value
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.errors import DocumentError
from activity_indexer.ports import OutRecord
from activity_indexer.replay.records import MAX_HISTORY, MAX_ORIGINAL, lies_at, parked, sent_again

TRACE = ("traceparent", b"00-1-2-01")


def first(value: bytes | None = b"old", offset: int = 7) -> StoredDeadLetter:
    """A dead letter that no replay has sent."""
    record = Reported(value, key=b"k", partition=2, offset=offset, topic="t", headers=[TRACE])
    return stored(dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)), offset=70)


def failed_again(letter: StoredDeadLetter, replay_id: str, value: bytes | None = None) -> StoredDeadLetter:
    """What the indexer makes of it after a replay, at another place."""
    sent = sent_again(letter, replay_id, "t", letter.value if value is None else value).record
    record = Reported(sent.value, key=sent.key, partition=2, offset=900, topic="t", headers=list(sent.headers))
    return stored(dead_letter(record, Failure(DocumentError("mapper", "no"), 1, time.time(), time.time())), offset=71)


def test_it_goes_back_as_it_came_with_headers_that_say_its_way() -> None:
    sent = sent_again(first(), "r1", "t", b"old")
    assert (sent.topic, sent.partition, sent.record.key, sent.record.value) == ("t", 2, b"k", b"old")
    headers = dict(sent.record.headers)
    assert sent.record.headers[0] == TRACE
    assert headers["replay-id"] == b"r1"
    assert headers["replay-count"] == b"1"
    assert headers["replay-from"] == lies_at(first()).encode()
    assert [headers[f"replay-{name}"] for name in ("topic", "partition", "offset")] == [b"t", b"2", b"7"]
    assert headers["replay-first-failure"] == b"1970-01-01T00:16:40Z"
    assert not [name for name in headers if name.startswith("dead-letter-") or name == "replay-original"]


def test_in_another_topic_the_key_decides_where_it_goes() -> None:
    assert sent_again(first(), "r1", "elsewhere", b"old").partition is None


def test_count_first_place_first_failure_and_history_outlive_every_further_failure() -> None:
    letter = failed_again(failed_again(first(), "r1"), "r2")
    assert (letter.replay_count, letter.replay_id) == (2, "r2")
    assert [letter.header(f"replay-{name}") for name in ("topic", "partition", "offset")] == ["t", "2", "7"]
    assert letter.header("dead-letter-first-failure") == "1970-01-01T00:16:40Z"
    assert letter.original_offset == 900
    assert [(stay["error"], stay["replay"]) for stay in history(letter)] == [("missing_field", "r1"), ("mapper", "r2")]
    assert [name for name, _ in letter.headers].count("replay-count") == 1
    for number in range(20):
        letter = failed_again(letter, f"more{number}")
    assert len(history(letter)) == MAX_HISTORY


def test_the_value_before_the_first_correction_is_kept() -> None:
    letter = failed_again(failed_again(first(), "r1", b"better"), "r2", b"best")
    assert (letter.value, original_value(letter)) == (b"best", b"old")
    assert [stay.get("corrected") for stay in history(letter)] == [True, True]
    assert original_value(failed_again(first(), "r1")) is None


def test_an_original_that_is_too_large_even_when_it_is_packed_is_left_where_it_lies() -> None:
    large = random.Random(1).randbytes(2 * MAX_ORIGINAL)  # noqa: S311 - it only has to be no pattern
    letter = failed_again(first(large), "r1", b"small")
    assert original_value(letter) is None
    assert history(letter)[0]["from"] == lies_at(first(large))


def test_a_parked_one_is_the_same_dead_letter_and_says_where_it_lay() -> None:
    letter = first()
    found = parked(letter, "t.dlq.parked")
    assert (found.topic, found.record.key, found.record.value) == ("t.dlq.parked", b"k", b"old")
    assert found.record.headers[:-1] == list(letter.headers)
    assert found.record.headers[-1] == ("replay-parked-from", lies_at(letter).encode())


def test_headers_that_anybody_wrote_are_no_obstacle() -> None:
    odd = [
        ("replay-count", b"x"),
        ("replay-history", b"[[1], 2"),
        ("replay-first-failure", b"?"),
        ("replay-topic", b""),
    ]
    letter = stored(OutRecord(None, None, odd))
    sent = dict(sent_again(letter, "r", "t", None).record.headers)
    assert sent["replay-count"] == b"1"
    record = Reported(None, headers=odd)
    assert dict(dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)).headers)["dead-letter-first-failure"]


def test_the_span_that_dead_lettered_it_is_asked_to_its_next_life() -> None:
    record = Reported(b"old", key=b"k", partition=2, offset=7, topic="t", headers=[TRACE])
    span = b"00-%032x-%016x-01" % (7, 6)
    letter = stored(dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0), span), offset=70)
    headers = dict(sent_again(letter, "r1", "t", b"old").record.headers)
    assert headers["replay-dead-letter-traceparent"] == span
    assert "replay-dead-letter-traceparent" not in dict(sent_again(first(), "r1", "t", b"old").record.headers)
