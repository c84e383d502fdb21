"""The ledger file."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from activity_loadgen.generate import generate
from activity_loadgen.ledger import Entry, LedgerError, LedgerWriter, digest, entry_for, read
from activity_loadgen.options import LoadOptions

ENTRIES = [
    entry_for("run", "transactions", event, (0, offset), 1_000 + offset)
    for offset, event in enumerate(generate(LoadOptions(count=5, seed=1, invalid_ratio=0.4, user_id="Jalapeño")))
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger.jsonl"


def write(path: Path, entries: list[Entry], *, append: bool = False) -> None:
    async def run() -> None:
        with LedgerWriter(path, append=append) as writer:
            for entry in entries:
                writer.write(entry)

    asyncio.run(run())


def test_what_is_written_is_read(path: Path) -> None:
    write(path, ENTRIES)
    assert list(read(path)) == ENTRIES


async def test_an_entry_is_in_the_file_after_the_loops_next_turn(path: Path) -> None:
    with LedgerWriter(path) as writer:
        for number, entry in enumerate(ENTRIES, 1):
            writer.write(entry)
            await asyncio.sleep(0)
            assert len(list(read(path))) == number


def test_lines_say_what_was_acknowledged(path: Path) -> None:
    write(path, ENTRIES)
    line = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert line["key"] == line["user_id"] == "Jalapeño"
    assert (line["partition"], line["offset"], line["acked_us"]) == (0, 0, 1000)
    assert line["valid"] is True
    assert len(line["sha256"]) == 64


@pytest.mark.parametrize("lost", [1, 2, 20, 200])
def test_a_torn_last_line_is_left_out(path: Path, lost: int) -> None:
    write(path, ENTRIES)
    path.write_bytes(path.read_bytes()[:-lost])
    assert list(read(path)) == ENTRIES[:-1]


def test_appending_goes_on_where_the_last_whole_line_ended(path: Path) -> None:
    write(path, ENTRIES[:3])
    path.write_bytes(path.read_bytes()[:-9])
    write(path, ENTRIES[3:], append=True)
    assert list(read(path)) == ENTRIES[:2] + ENTRIES[3:]


def test_appending_removes_the_torn_line_at_once(path: Path) -> None:
    write(path, ENTRIES)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"run":"half a li')
    write(path, [], append=True)
    assert path.read_bytes() == whole


def test_a_file_with_nothing_but_a_torn_line_starts_from_scratch(path: Path) -> None:
    path.write_bytes(b'{"run":"half a li')
    assert list(read(path)) == []
    write(path, ENTRIES, append=True)
    assert list(read(path)) == ENTRIES


def test_a_ledger_is_not_overwritten(path: Path) -> None:
    write(path, ENTRIES)
    with pytest.raises(LedgerError, match="exists already: name another file, remove it, or pass --ledger-append"):
        LedgerWriter(path)
    assert list(read(path)) == ENTRIES


def test_a_ledger_of_an_earlier_release_is_read_in_todays_terms(path: Path) -> None:
    line = msgspec.to_builtins(ENTRIES[0])
    del line["timestamp"], line["published"]
    path.write_bytes(msgspec.json.encode({**line, "version": (ENTRIES[0].version or 0) >> 8}) + b"\n")
    (entry,) = read(path)
    assert (entry.version, entry.timestamp) == (ENTRIES[0].version, ENTRIES[0].timestamp)
    assert entry.order[2] == ENTRIES[0].acked_us // 1000


def test_a_broken_line_is_named(path: Path) -> None:
    write(path, ENTRIES)
    path.write_bytes(path.read_bytes() + b'{"run": 7}\n')
    with pytest.raises(LedgerError, match=f"line {len(ENTRIES) + 1}: expected a ledger entry"):
        list(read(path))


def test_a_ledger_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(LedgerError, match=r"cannot read .*run\.ledger\.jsonl: No such file"):
        list(read(path))


def test_a_record_without_a_value_has_no_digest() -> None:
    assert digest(None) is None
    assert digest(b"") is not None
