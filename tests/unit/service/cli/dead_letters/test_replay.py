"""`activity-indexer dead-letters replay`, without its servers."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fixtures.events import encoded, event
from fixtures.memory.replay import MemoryDocuments, MemoryLog
from fixtures.records import Reported
from fixtures.servers.replays import MISSING

from activity_indexer.cli import main
from activity_indexer.cli.dead_letters import replay as command
from activity_indexer.dead_letter import Failure, dead_letter
from activity_indexer.errors import Unavailable
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.ports import ReplayRefused
from activity_indexer.replay.session import Outside
from activity_indexer.settings import SECTIONS, Settings

TOPIC = "transactions.dlq"
PREFIXES = tuple(str(section.model_config["env_prefix"]) for section in SECTIONS)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    """Dead letters in memory: a valid event, and one without a currency."""
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    found = MemoryLog()

    @asynccontextmanager
    async def outside(settings: Settings, options: ReplayOptions) -> AsyncIterator[Outside]:
        yield Outside(found, MemoryDocuments(), found, lambda: found.writing(options.group))

    monkeypatch.setattr(command, "replay_outside", outside)
    poor = event("b", amount=1)
    del poor["transaction"]["currency"]
    for number, value in enumerate((event("a"), poor)):
        record = Reported(encoded(value).replace(b'"amount": 1,', b'"amount": 1.50,'), key=b"k", topic="transactions")
        found.put(TOPIC, number, dead_letter(record, Failure(MISSING, 1, 1000.0, 2000.0)))
    return found


def call(*arguments: str, **more: object) -> Result:
    return CliRunner().invoke(main, ["dead-letters", "replay", "--no-wait", *arguments], **more)  # type: ignore[arg-type]


def lines(found: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in found.stdout.splitlines()]


def test_machines_get_lines_of_json_and_a_file(log: MemoryLog, tmp_path: Path) -> None:
    file = tmp_path / "result"
    found = call("--id", "r", "--json", "--result-file", str(file))
    reported = lines(found)
    assert found.exit_code == 0
    assert reported[-1] == json.loads(file.read_text())
    assert [line["kind"] for line in reported if line["kind"] != "progress"] == ["plan", "result"]
    assert (reported[-1]["outcome"], reported[-1]["sent"], reported[-1]["matched"]) == ("done", 2, 2)
    assert len(log.all("transactions")) == 2


def test_users_get_a_table_and_what_to_know(log: MemoryLog) -> None:
    found = call("--dry-run")
    assert found.exit_code == 0
    for text in ("missing_field", "2 to be sent", "1 of those to be sent are invalid", "Up to 0:1,1:1", "dry run"):
        assert text in found.output
    assert not log.all("transactions")


def test_each_end_has_its_exit_code(log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("--stage", "index").exit_code == 3
    spoil = tmp_path / "spoil.json"
    spoil.write_text('{"timestamp": 1}')
    assert call("--patch", str(spoil)).exit_code == 4
    spoil.write_text("{")
    found = call("--patch", str(spoil), "--json")
    assert (found.exit_code, lines(found)[-1]["outcome"]) == (4, "refused")

    for error, code in ((Unavailable("Kafka: away"), 1), (ReplayRefused("one replay at a time"), 4)):

        @asynccontextmanager
        async def broken(
            settings: Settings, options: ReplayOptions, error: Exception = error
        ) -> AsyncIterator[Outside]:
            raise error
            yield

        monkeypatch.setattr(command, "replay_outside", broken)
        found = call("--json")
        assert (found.exit_code, lines(found)[-1]["message"]) == (code, str(error))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--patch", __file__, "--edit"],
        ["--id", "a b"],
        ["--id", TOPIC],
        ["--up-to", "x"],
        ["--rate", "0"],
        ["--max", "0"],
        ["--patch", "nowhere"],
    ],
)
def test_wrong_usage_is_reported_and_nothing_is_done(log: MemoryLog, arguments: list[str]) -> None:
    found = call(*arguments)
    assert found.exit_code == 2
    assert "Error:" in found.output
    assert log.commits == 0


def test_one_is_corrected_in_an_editor_with_its_digits_as_they_were(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/"status": "completed"/"status": "completed", "currency": "EUR"/\' "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    found = call("--edit", "--offsets", "1:0", "--json")
    assert (found.exit_code, lines(found)[-1]["sent"]) == (0, 1)
    (sent,) = log.all("transactions")
    assert b'"amount": 1.50' in (sent.value or b"")
    assert b'"currency": "EUR"' in (sent.value or b"")
    monkeypatch.setenv("VISUAL", "true")
    assert call("--edit", "--offsets", "1:0").exit_code == 4
