import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from activity_stack.errors import StackError
from activity_stack.processes import Process, identify
from activity_stack.settings import Ports, Settings, load_settings
from activity_stack.state import Running, State, exclusive, load_state, save_state


def this_process() -> Process:
    return identify(os.getpid())


def settings(home: Path, **environ: str) -> Settings:
    return load_settings(home, environ=environ)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    state = State(Ports().moved(100), ports_chosen=True, servers={"redis": Running(this_process(), "8.1", "recorded")})
    save_state(tmp_path / "state.json", state)
    assert load_state(tmp_path / "state.json") == state


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", '{"ports": null}', '{"ports": {"x": 1}, "servers": {}}'])
def test_a_damaged_state_file_is_an_empty_state(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "state.json").write_text(damaged)
    assert load_state(tmp_path / "state.json") == State()


def test_a_server_whose_process_runs_is_alive() -> None:
    state = State(servers={"redis": Running(this_process(), "8.1")})
    assert state.alive("redis")
    assert state.running() == ["redis"]


@pytest.mark.parametrize("changed", [{"born": 1}, {"boot": "another boot"}, {"pid": 2**22 + 1}])
def test_a_recycled_pid_is_not_taken_for_the_server(changed: dict[str, Any]) -> None:
    stranger = replace(this_process(), **changed)
    assert State(servers={"redis": Running(stranger, "8.1")}).alive("redis") is None


def test_running_servers_keep_their_ports_whatever_is_asked_for(tmp_path: Path) -> None:
    state = State(Ports().moved(100), servers={"redis": Running(this_process(), "8.1")})
    assert state.settle_ports(settings(tmp_path, ACTIVITY_STACK_REDIS_PORT="7000")).ports == Ports().moved(100)


def test_ports_once_asked_for_stay_when_all_servers_are_gone(tmp_path: Path) -> None:
    state = State(Ports().moved(100), ports_chosen=True)
    assert state.settle_ports(settings(tmp_path)).ports == Ports().moved(100)


def test_ports_that_were_not_asked_for_give_way_to_the_defaults(tmp_path: Path) -> None:
    assert State(Ports().moved(100)).settle_ports(settings(tmp_path)).ports == Ports()


def test_new_ports_replace_the_old_when_all_servers_are_gone(tmp_path: Path) -> None:
    state = State(Ports().moved(100), ports_chosen=True)
    asked_for = settings(tmp_path, ACTIVITY_STACK_PORT_OFFSET="200")
    assert state.settle_ports(asked_for).ports == Ports().moved(200)


def test_a_lock_file_left_behind_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("left by a killed command")
    with exclusive(tmp_path / "lock", limit=0.1):
        pass


def test_a_second_command_is_shown_which_lock_is_held(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", limit=1),
        pytest.raises(StackError, match="lock"),
        exclusive(tmp_path / "lock", limit=0.1),
    ):
        pass
