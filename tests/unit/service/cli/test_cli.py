"""The command line."""

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from activity_indexer import app
from activity_indexer.cli import common, main, purge, run
from activity_indexer.cli.common import Duration
from activity_indexer.errors import Refused
from activity_indexer.purge import Progress
from activity_indexer.settings import SECTIONS, Settings, declared

PREFIXES = tuple(str(section.model_config["env_prefix"]) for section in SECTIONS)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.upper().startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "300")
    return monkeypatch


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_the_commands(option: str) -> None:
    found = call(option)
    assert found.exit_code == 0
    assert all(command in found.output for command in ("run", "check-config", "purge-tombstones", "version"))


@pytest.mark.parametrize("command", ["run", "check-config", "purge-tombstones", "version"])
def test_every_command_explains_itself(command: str) -> None:
    found = call(command, "--help")
    assert found.exit_code == 0
    assert found.output.startswith("Usage: ")


def test_the_version_is_the_packages() -> None:
    assert call("version").output.strip() in call("--version").output


def test_check_config_shows_every_setting_with_value_origin_and_meaning(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CONSUMER_BATCH_SIZE", "77")
    found = call("check-config")
    assert found.exit_code == 0
    rows = {line.split()[1]: line for line in found.output.splitlines() if line.startswith("│")}
    assert set(rows) == {name for _, _, name, _ in declared()}
    assert "77" in rows["CONSUMER_BATCH_SIZE"]
    assert "environment" in rows["CONSUMER_BATCH_SIZE"]
    assert "default" in rows["CONSUMER_BATCH_TIMEOUT"]


def test_check_config_as_json_is_one_object() -> None:
    found = json.loads(call("check-config", "--json").stdout)
    assert found["CONSUMER_BATCH_SIZE"] == "10"
    assert set(found) == {name for _, _, name, _ in declared()}


def test_check_config_never_shows_a_secret(environment: pytest.MonkeyPatch) -> None:
    for name in ("ELASTICSEARCH_API_KEY", "KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD"):
        environment.setenv(name, "hunter2")
    environment.setenv("DATABASE_URL", "postgresql://u:hunter2@h/db?sslpassword=hunter2")
    for options in ((), ("--json",)):
        assert "hunter2" not in call("check-config", *options).output


def test_wrong_settings_end_with_code_2_and_every_error(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CONSUMER_BATCH_SIZE", "ten")
    environment.setenv("REDIS_URL", "http://:hunter2@x")
    for command in ("check-config", "run", "purge-tombstones"):
        found = call(command)
        assert found.exit_code == 2
        assert found.stdout == ""
        assert "CONSUMER_BATCH_SIZE: " in found.stderr
        assert "REDIS_URL: " in found.stderr
        assert "hunter2" not in found.stderr


def test_an_unknown_enrichment_is_a_wrong_setting(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CONSUMER_ENRICHMENTS", "card,no_such_strategy")
    found = call("check-config")
    assert found.exit_code == 2
    assert "no_such_strategy" in found.stderr


def test_a_misspelt_variable_is_reported_and_stops_nothing(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CONSUMER_BATCHSIZE", "7")
    found = call("check-config", "--json")
    assert found.exit_code == 0
    assert found.stderr == "CONSUMER_BATCHSIZE is no setting: is CONSUMER_BATCH_SIZE meant?\n"
    assert json.loads(found.stdout)


def test_run_runs_with_the_settings(environment: pytest.MonkeyPatch) -> None:
    started: list[Settings] = []
    environment.setattr(app, "run", started.append)
    environment.setattr(run, "configure_logging", lambda *_: None)
    environment.setenv("CONSUMER_BATCH_SIZE", "77")
    assert call("run").exit_code == 0
    assert started[0].consumer.batch_size == 77


def test_what_ends_a_run_is_said_in_one_line(environment: pytest.MonkeyPatch) -> None:
    def refuse(_: Settings) -> None:
        raise Refused("port 8080 is taken")

    environment.setattr(app, "run", refuse)
    environment.setattr(run, "configure_logging", lambda *_: None)
    found = call("run")
    assert (found.exit_code, found.stderr) == (1, "port 8080 is taken\n")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 2_592_000), ("12h", 43_200), ("90m", 5400), ("45s", 45), ("1.5h", 5400), (" 1d ", 86_400), ("0s", 0)],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1w", "1d2h", "1e3s", "one day", "1 d", "nan"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="30d, 12h, 90m or 45s"):
        Duration().convert(text, None, None)


def test_a_bad_duration_ends_the_purge_before_it_begins() -> None:
    found = call("purge-tombstones", "--older-than", "forever")
    assert found.exit_code == 2
    assert "got 'forever'" in found.stderr


def test_purge_says_when_the_server_is_unavailable(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(common, "configure_logging", lambda *_: None)
    environment.setenv("ELASTICSEARCH_URL", "http://127.0.0.1:1")
    found = call("purge-tombstones")
    assert found.exit_code == 1
    assert "Elasticsearch" in found.stderr


def test_purge_says_what_it_did(environment: pytest.MonkeyPatch) -> None:
    horizons: list[float] = []

    async def purged(_: Settings, older_than: float, **_options: Any) -> Progress:
        horizons.append(older_than)
        return Progress(10, 8, 2)

    environment.setattr(common, "configure_logging", lambda *_: None)
    environment.setattr(purge, "_purge", purged)
    assert call("purge-tombstones").output == ("8 of 10 tombstones purged, 2 kept since they changed meanwhile\n")
    found = call("purge-tombstones", "--json", "--older-than", "7d")
    assert json.loads(found.output) == {"found": 10, "purged": 8, "kept": 2}
    assert horizons == [30 * 86_400.0, 7 * 86_400.0]


def test_purge_leaves_its_result_in_a_file_for_who_cannot_read_the_output(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def purged(_: Settings, _older_than: float, **_options: Any) -> Progress:
        return Progress(10, 8, 2)

    environment.setattr(common, "configure_logging", lambda *_: None)
    environment.setattr(purge, "_purge", purged)
    assert call("purge-tombstones", "--result-file", str(tmp_path / "result")).exit_code == 0
    assert json.loads((tmp_path / "result").read_text()) == {"found": 10, "purged": 8, "kept": 2}
