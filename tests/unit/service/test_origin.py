"""The position that orders an event among its ties, also after a replay."""

import pytest
from fixtures.events import NOW
from fixtures.records import Reported

from activity_indexer.dead_letter import LATEST, Failure, dead_letter
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.errors import ValidationError
from activity_indexer.event import Position
from activity_indexer.origin import position_of
from activity_indexer.replay.records import sent_again

PUBLISHED = int(NOW * 1000)
ORIGINAL = {"replay-timestamp": b"2024-01-01T12:00:00.005Z", "replay-partition": b"3", "replay-offset": b"9"}


def replayed(**changes: bytes | None) -> Reported:
    reported = {**ORIGINAL, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return Reported(b"{}", 70, 1, headers=[(name, value) for name, value in reported.items() if value is not None])


def test_a_record_has_its_own_position() -> None:
    assert position_of(Reported(b"{}", 7, 2)) == Position(PUBLISHED, 2, 7)
    assert position_of(Reported(b"{}", 7, 2, headers=[("traceparent", b"00")])) == Position(PUBLISHED, 2, 7)


def test_a_replayed_record_has_the_position_of_its_original() -> None:
    assert position_of(replayed()) == Position(1_704_110_400_005, 3, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"replay_offset": None},
        {"replay_timestamp": None},
        {"replay_partition": None},
        {"replay_offset": b"-1"},
        {"replay_offset": b"9" * 30},
        {"replay_partition": b"x"},
        {"replay_partition": b"99999999999"},
        {"replay_timestamp": b"yesterday"},
        {"replay_timestamp": b"1969-01-01T00:00:00Z"},
        {"replay_timestamp": b"\xff"},
    ],
)
def test_headers_that_make_no_position_do_not_count(changes: dict[str, bytes | None]) -> None:
    assert position_of(replayed(**changes)) == Position(PUBLISHED, 1, 70)


@pytest.mark.parametrize(("timestamp", "published"), [(-1, 0), (-(2**62), 0), (2**62, LATEST)])
def test_a_timestamp_that_is_none_is_the_nearest_one(timestamp: int, published: int) -> None:
    assert position_of(Reported(b"{}", 7, 2, timestamp=timestamp)).published == published


@pytest.mark.parametrize("timestamp", [PUBLISHED, 1_704_110_400_001, -1, 2**62])
def test_dead_letters_and_replays_keep_the_position_however_often(timestamp: int) -> None:
    record = Reported(b"{}", 7, 2, timestamp=timestamp)
    position = position_of(record)
    for stay in range(3):
        out = dead_letter(record, Failure(ValidationError("wrong_type", "no"), 1, NOW, NOW))
        letter = StoredDeadLetter("t.dlq", 0, stay, PUBLISHED + stay, out.key, out.value, tuple(out.headers))
        again = sent_again(letter, "r", "transactions", letter.value).record
        record = Reported(again.value, 100 + stay, 5, headers=again.headers)
        assert position_of(record) == position
