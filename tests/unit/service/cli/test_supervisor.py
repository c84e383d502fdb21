"""Several indexers under one parent: it starts them, passes signals on and replaces one that dies."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.servers.processes import Forked
from fixtures.servers.supervised import program as supervised_program

from activity_indexer.errors import SettingsError
from activity_indexer.settings import load_settings

PORT = 9000


class Supervised:
    """The parent, and what its processes have noted."""

    def __init__(self, notes: Path, behaviour: str) -> None:
        self.notes = notes
        variables = {"NOTES": str(notes), "BEHAVIOUR": behaviour, "CONSUMER_HTTP_PORT": str(PORT)}
        variables["CONSUMER_SHUTDOWN_TIMEOUT"] = "1"
        self._log = notes / "log"
        self.process = Forked({**os.environ, **variables}, self._log, [], supervised_program)

    def noted(self, what: str) -> dict[int, list[int]]:
        """Port → pids of the processes that noted this."""
        found: dict[int, list[int]] = {}
        for path in sorted(self.notes.glob(f"{what}-*")):
            _, port, pid = path.name.split("-")
            found.setdefault(int(port), []).append(int(pid))
        return found

    def until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < end
            assert self.process.poll() is None, self._log.read_text()
            time.sleep(0.01)

    def both_started(self) -> dict[int, list[int]]:
        self.until(lambda: len(self.noted("started")) == 2)
        return self.noted("started")

    def ended(self) -> tuple[int, list[dict[str, Any]], list[str]]:
        """The exit code, the lines of the log, and what else was printed."""
        code = self.process.wait(30)
        printed = self._log.read_text().splitlines()
        log = [json.loads(line) for line in printed if line.startswith("{")]
        return code, log, [line for line in printed if not line.startswith("{")]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(behaviour: str = "") -> Supervised:
        started.append(Supervised(tmp_path, behaviour))
        return started[-1]

    yield start
    for each in started:
        each.process.send_signal(signal.SIGKILL)
        each.process.wait(10)


def lines(log: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line for line in log if line["event"] == name]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_all_processes(supervised: Callable[..., Supervised], number: int) -> None:
    parent = supervised()
    assert set(parent.both_started()) == {PORT, PORT + 1}
    parent.process.send_signal(number)
    code, log, errors = parent.ended()
    assert (code, errors) == (0, [])
    assert parent.noted("drained") == parent.noted("started")
    assert [line["process"] for line in lines(log, "process.started")] == [1, 2]
    assert {line["process"] for line in lines(log, "process.stopped")} == {1, 2}


def test_a_process_that_dies_is_replaced_and_the_other_goes_on(supervised: Callable[..., Supervised]) -> None:
    parent = supervised()
    first = parent.both_started()
    os.kill(first[PORT + 1][0], signal.SIGKILL)
    parent.until(lambda: len(parent.noted("started")[PORT + 1]) == 2)
    parent.process.send_signal(signal.SIGTERM)
    code, log, _ = parent.ended()
    assert code == 0
    assert parent.noted("drained")[PORT] == first[PORT]
    (died,) = lines(log, "process.died")
    assert (died["process"], died["signal"], died["replaced"]) == (2, "SIGKILL", True)


def test_what_a_replacement_would_meet_too_ends_the_program(supervised: Callable[..., Supervised]) -> None:
    code, log, errors = supervised("refuse").ended()
    assert code == 1
    assert errors == ["process 2: the port is taken"]
    assert [(line["process"], line["replaced"]) for line in lines(log, "process.died")] == [(2, False)]
    assert [line["process"] for line in lines(log, "process.stopped")] == [1]


def test_a_process_that_dies_again_and_again_ends_the_program(supervised: Callable[..., Supervised]) -> None:
    parent = supervised("crash")
    code, log, _ = parent.ended()
    assert code == 1
    assert [line["replaced"] for line in lines(log, "process.died")] == [True] * 5 + [False]
    crashes = lines(log, "process.crashed")
    assert len(crashes) == 6
    assert all(line["process"] == 2 and "a defect" in line["exception"] for line in crashes)
    assert parent.noted("drained").keys() == {PORT}


@pytest.mark.parametrize("number", [signal.SIGKILL, 40])
def test_a_signal_is_named_where_it_has_a_name(supervised: Callable[..., Supervised], number: int) -> None:
    parent = supervised()
    os.kill(parent.both_started()[PORT + 1][0], number)
    parent.until(lambda: len(parent.noted("started").get(PORT + 1, [])) == 2)
    parent.process.send_signal(signal.SIGTERM)
    code, log, _ = parent.ended()
    assert code == 0
    assert [line["signal"] for line in lines(log, "process.died")] == ["SIGKILL" if number == signal.SIGKILL else "40"]


def test_a_process_that_cannot_be_started_is_tried_again(supervised: Callable[..., Supervised]) -> None:
    parent = supervised("no memory")
    parent.both_started()
    parent.process.send_signal(signal.SIGTERM)
    code, log, _ = parent.ended()
    assert code == 0
    assert [(line["process"], line["reason"]) for line in lines(log, "process.not_started")] == [(1, "no memory")]


def test_a_signal_just_before_a_start_starts_nothing(supervised: Callable[..., Supervised]) -> None:
    code, log, _ = supervised("signal at start").ended()
    assert code == 0
    assert [line["process"] for line in lines(log, "process.started")] == [1]
    assert [line["process"] for line in lines(log, "process.stopped")] == [1]


def test_a_defect_of_the_parent_ends_its_processes(supervised: Callable[..., Supervised]) -> None:
    parent = supervised("defect at end")
    started = parent.both_started()
    os.kill(started[PORT + 1][0], signal.SIGKILL)
    code, _, _ = parent.ended()
    assert code == 1
    assert parent.noted("drained").keys() == {PORT}


def test_a_process_that_fails_at_the_end_makes_the_program_fail(supervised: Callable[..., Supervised]) -> None:
    parent = supervised("fail")
    parent.both_started()
    parent.process.send_signal(signal.SIGTERM)
    code, log, _ = parent.ended()
    assert code == 1
    assert {line["process"]: line["code"] for line in lines(log, "process.stopped")} == {1: 0, 2: 1}


def test_a_process_that_does_not_end_is_killed(supervised: Callable[..., Supervised]) -> None:
    parent = supervised("stay")
    parent.both_started()
    parent.process.send_signal(signal.SIGTERM)
    code, log, _ = parent.ended()
    assert code == 1
    assert [line["process"] for line in lines(log, "process.killed")] == [2]
    assert parent.noted("drained").keys() == {PORT}


def test_processes_end_in_good_order_when_their_parent_is_killed(supervised: Callable[..., Supervised]) -> None:
    parent = supervised()
    started = parent.both_started()
    parent.process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 30
    while parent.noted("drained") != started:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_process_has_a_port_and_a_static_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_HTTP_PORT", "8080")
    monkeypatch.setenv("KAFKA_GROUP_INSTANCE_ID", "pod")
    settings = load_settings()
    ours = [settings.of_process(number) for number in (1, 2, 3)]
    assert [each.consumer.http_port for each in ours] == [8080, 8081, 8082]
    assert [each.kafka.group_instance_id for each in ours] == ["pod-1", "pod-2", "pod-3"]
    assert ours[0].kafka.consumer_group == settings.kafka.consumer_group


def test_without_a_port_and_a_name_none_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_HTTP_PORT", "0")
    third = load_settings().of_process(3)
    assert (third.consumer.http_port, third.kafka.group_instance_id) == (0, load_settings().kafka.group_instance_id)


def test_ports_beyond_the_last_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUMER_HTTP_PORT", "65535")
    settings = load_settings()
    assert settings.of_process(1).consumer.http_port == 65_535
    with pytest.raises(SettingsError, match="CONSUMER_HTTP_PORT: must leave a port for each process, got 65535"):
        settings.of_process(2)
