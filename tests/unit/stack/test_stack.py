import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from activity_stack import Stack, StackError
from activity_stack.cli import main
from activity_stack.tools import tool_command


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack.load(tmp_path, port_offset=4000)


def run(home: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["--home", str(home), "--port-offset", "4000", *arguments])
    return result.output


def test_an_unknown_server_is_refused_with_the_known_ones(stack: Stack) -> None:
    with pytest.raises(StackError, match="no server 'mysql': the servers are kafka, elasticsearch, redis, postgres"):
        stack.up(["mysql"])


def test_a_server_that_does_not_run_cannot_be_killed(stack: Stack) -> None:
    with pytest.raises(StackError, match="redis does not run: start it first"):
        stack.kill("redis")


def test_ending_what_does_not_run_is_no_error(stack: Stack) -> None:
    assert set(stack.down().values()) == {"did not run"}


def test_status_shows_every_server_stopped_before_the_first_start(tmp_path: Path) -> None:
    rows = json.loads(run(tmp_path, "status", "--json"))
    assert {"kafka", "elasticsearch", "redis", "postgres", "elasticsearch-secure"} <= {row["name"] for row in rows}
    assert {row["state"] for row in rows} == {"stopped"}


def test_env_prints_export_lines_for_the_service(tmp_path: Path) -> None:
    lines = run(tmp_path, "env").splitlines()
    assert "export KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:23092" in lines
    assert "export ELASTICSEARCH_URL=http://127.0.0.1:23200" in lines
    assert "export REDIS_URL=redis://127.0.0.1:20379/0" in lines
    assert "export DATABASE_URL=postgresql://astropay:astropay@127.0.0.1:19432/activity_feed" in lines
    assert f"export ACTIVITY_STACK_CA_FILE={tmp_path}/certs/ca.pem" in lines


def test_an_error_is_a_message_and_not_a_traceback(tmp_path: Path) -> None:
    assert run(tmp_path, "up", "mysql").startswith("Error: no server 'mysql'")


def test_a_kafka_tool_asks_the_stacks_broker(stack: Stack) -> None:
    command = tool_command(stack, "kafka-topics", ("--list",))
    assert command[-4:] == ("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", "127.0.0.1:23092", "--list")


@pytest.mark.parametrize("named", [("--bootstrap-server", "a:1"), ("--bootstrap-server=a:1",)])
def test_a_kafka_tool_asks_another_broker_on_request(stack: Stack, named: tuple[str, ...]) -> None:
    assert tool_command(stack, "kafka-topics", (*named, "--list"))[-len(named) - 1 :] == (*named, "--list")
