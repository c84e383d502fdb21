"""The command line: its help, and what it says to what cannot work."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from activity_loadgen.cli import main

ROOT = Path(__file__).parents[3]
NO_SETTINGS = dict.fromkeys(
    ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TRANSACTIONS_TOPIC", "KAFKA_SECURITY_PROTOCOL", "ELASTICSEARCH_URL"), None
)


def call(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env={**NO_SETTINGS, **environment})


def test_the_guides_script_lists_the_guides_options_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = str(ROOT / "publish_test_data_to_kafka.py")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(script, run_name="__main__")
    shown = capsys.readouterr().out
    options = re.findall(r"^  (--[a-z-]+)", shown, flags=re.MULTILINE)
    assert shown.startswith("Usage: publish_test_data_to_kafka.py [OPTIONS]")
    assert options[:4] == ["--count", "--user-id", "--kafka-servers", "--update-ratio"]
    for default in ("[default: 1000]", "[default: test_user_123]", "from env", "[default: 0.1]"):
        assert default in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--update-ratio", "-1"], "--update-ratio: expected a number from 0 to 100, got -1.0"),
        (["--count", "many"], "'many' is not a valid integer"),
        (["--type-mix", "cash=1"], "expected types out of card, p2p, crypto, got 'cash'"),
        (["--start-time", "noon"], "expected an RFC 3339 time such as 2024-01-01T12:00:00Z, got 'noon'"),
        (["--kafka-servers", "here:there"], "expected host:port[,host:port…], got 'here:there'"),
        (["--invalid-kind", "sloppy"], "--invalid-kind: expected one of"),
        (["--verify"], "set ELASTICSEARCH_URL or pass --elasticsearch-url"),
        (["--verify", "--elasticsearch-url", "localhost:9200"], "expected http://host:port or https://host:port"),
        (["--count", "5", "verify", "--ledger", "x"], "--count belongs to publishing"),
        (["verify"], "Missing option '--ledger'"),
        (["verify", "--ledger", "/nowhere"], "'/nowhere' does not exist"),
    ],
)
def test_what_cannot_work_is_said_clearly_with_exit_code_2(arguments: list[str], said: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL: expected one of PLAINTEXT, SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "expected both KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM: expected one of PLAIN"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_FILE": "/nowhere"}, "expected readable PEM files"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], said: str) -> None:
    result = call("--count", "0", "--wait", "0", **environment)
    assert result.exit_code == 2
    assert said in result.output


def test_kafka_unavailable_is_exit_code_1() -> None:
    result = call("--kafka-servers", "127.0.0.1:1", "--wait", "0")
    assert result.exit_code == 1
    assert "Error: Kafka at 127.0.0.1:1: gave up after 0 s" in result.output
    assert "Traceback" not in result.output


def test_the_documentation_names_every_option() -> None:
    text = (ROOT / "docs" / "load-generator.md").read_text(encoding="utf-8")
    names = [name for parameter in main.params for name in (*parameter.opts, *parameter.secondary_opts)]
    assert len(names) > 30
    assert [name for name in names if f"`{name}`" not in text and f"`{name} " not in text] == []
