"""`activity-indexer dead-letters show`, of an event that replays sent before."""

import json
import time
import zlib

import pytest
from click.testing import CliRunner
from fixtures.memory.replay import stored
from fixtures.records import Reported
from fixtures.servers.replays import MISSING

from activity_indexer.cli import main
from activity_indexer.cli.dead_letters import show
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.dead_letters.document_state import Outlook
from activity_indexer.dead_letters.earlier import MAX_ORIGINAL, first_place, history, original_value
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.errors import DocumentError
from activity_indexer.ports import OutRecord
from activity_indexer.replay.records import sent_again

PRODUCER = [("source", b"shop"), ("traceparent", b"00-1-2-01")]


def buried(value: bytes | None, headers: list[tuple[str, bytes]], offset: int, place: int) -> StoredDeadLetter:
    """The dead letter of a record at an offset of partition 2."""
    record = Reported(
        value, key=b"k", partition=2, offset=offset, topic="t", headers=headers, timestamp=1_704_110_400_000
    )
    error = MISSING if place == 70 else DocumentError("mapper", "no")
    return stored(dead_letter(record, Failure(error, 1, time.time(), time.time())), offset=place)


@pytest.fixture
def twice() -> StoredDeadLetter:
    """A dead letter that was corrected, failed again, and was sent once more."""
    letter = buried(b'{"a": "old"}', PRODUCER, 7, 70)
    for number, value in ((1, b'{"a": "better"}'), (2, b'{"a": "best"}')):
        sent = sent_again(letter, f"r{number}", "t", value).record
        letter = buried(sent.value, list(sent.headers), 900 + number, 70 + number)
    return letter


def run(monkeypatch: pytest.MonkeyPatch, letter: StoredDeadLetter, *arguments: str) -> str:
    async def newest(*_: object) -> StoredDeadLetter:
        return letter

    async def outlook(*_: object) -> Outlook:
        return Outlook(False, "nothing would change")

    monkeypatch.setattr(show, "_newest", newest)
    monkeypatch.setattr(show, "_outlook", outlook)
    found = CliRunner().invoke(main, ["dead-letters", "show", "2:72", *arguments])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_a_user_sees_where_an_event_was_first_how_it_failed_before_and_what_it_was(
    monkeypatch: pytest.MonkeyPatch, twice: StoredDeadLetter
) -> None:
    text = " ".join(run(monkeypatch, twice).split())
    for part in (
        "came from t 2:902",
        "replays 2, the last was r2",
        "first place t 2:7, written 2024-01-01T12:00:00Z",
        "validate missing_field, at t.dlq:0:70",
        "corrected and sent by r1",
        "index mapper, at t.dlq:0:71",
        "Payload before its first correction, 12 bytes",
        '"old"',
        '"best"',
    ):
        assert part in text
    assert "source" in text
    assert "replay-" not in text, "what replays noted is shown in words"


def test_a_program_gets_them_too(monkeypatch: pytest.MonkeyPatch, twice: StoredDeadLetter) -> None:
    reported = json.loads(run(monkeypatch, twice, "--json"))
    assert (reported["firstPlace"], reported["originalValue"]) == ("t 2:7", '{"a": "old"}')
    assert [(stay["replay"], stay["error"]) for stay in reported["history"]] == [
        ("r1", "missing_field"),
        ("r2", "mapper"),
    ]


def test_of_an_event_that_no_replay_sent_nothing_earlier_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    letter = buried(b"{", PRODUCER, 7, 70)
    text = run(monkeypatch, letter)
    for part in ("first place", "failed before", "before its first correction"):
        assert part not in text
    reported = json.loads(run(monkeypatch, letter, "--json"))
    assert (reported["firstPlace"], reported["history"], reported["originalValue"]) == (None, [], None)


@pytest.mark.parametrize(
    "packed",
    [b"", b"no zlib", zlib.compress(b"half")[:-2], zlib.compress(bytes(MAX_ORIGINAL + 1))],
)
def test_headers_that_anybody_wrote_show_nothing_and_take_no_memory(packed: bytes) -> None:
    odd = [("replay-original", packed), ("replay-topic", b"t"), ("replay-history", b'[1, {"replay": "r"}]')]
    letter = stored(OutRecord(None, b"x", odd))
    assert original_value(letter) is None
    assert first_place(letter) is None
    assert history(letter) == [{"replay": "r"}]
