import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from activity_stack import processes
from activity_stack.processes import Launch, Process

HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
"""Its first thread ends and another goes on: the kernel calls it a zombie."""

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(script: str) -> Process:
        started.append(processes.spawn(Launch(("/bin/sh", "-c", script)), tmp_path / "log"))
        return started[-1]

    yield start
    for process in started:
        processes.send_to_family(process, signal.SIGKILL)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_is_nobodys_child_and_writes_to_its_log(spawn: Callable[[str], Process], tmp_path: Path) -> None:
    process = spawn("echo out; echo err >&2; exec sleep 60")
    wait_for(lambda: (tmp_path / "log").read_text() == "out\nerr\n")
    assert process.alive()
    assert os.getsid(process.pid) != os.getsid(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def test_a_server_that_ends_at_once_is_not_alive(spawn: Callable[[str], Process]) -> None:
    process = spawn("exit 3")
    assert processes.wait_gone(process, limit=5)


def test_a_willing_server_is_asked_and_not_killed(spawn: Callable[[str], Process]) -> None:
    assert processes.stop(spawn("exec sleep 60"), signal.SIGTERM, limit=5)


def test_a_stubborn_server_is_killed_when_its_time_is_up(spawn: Callable[[str], Process], tmp_path: Path) -> None:
    process = spawn(STUBBORN)
    wait_for(lambda: "ready" in (tmp_path / "log").read_text())
    assert not processes.stop(process, signal.SIGTERM, limit=0.3)
    assert not process.alive()


def test_a_process_that_took_over_the_pid_is_never_signalled() -> None:
    ourselves = processes.identify(os.getpid())
    stranger = Process(ourselves.pid, ourselves.born + 1, ourselves.boot)
    assert not processes.send(stranger, signal.SIGKILL)
    assert processes.stop(stranger, signal.SIGKILL, limit=0.1)


def test_a_paused_server_is_distinguished_from_a_running_one(spawn: Callable[[str], Process]) -> None:
    process = spawn("exec sleep 60")
    assert not processes.is_paused(process)
    processes.send_to_family(process, signal.SIGSTOP)
    processes.wait_paused(process, limit=5)
    assert processes.is_paused(process)
    assert process.alive()


def test_a_missing_program_is_reported_in_the_log(tmp_path: Path) -> None:
    process = processes.spawn(Launch(("/no/such/server",)), tmp_path / "log")
    assert processes.wait_gone(process, limit=5)
    wait_for(lambda: "/no/such/server" in (tmp_path / "log").read_text())


def test_a_process_is_not_gone_before_its_last_thread_is(spawn: Callable[[str], Process], tmp_path: Path) -> None:
    process = spawn(f"exec {sys.executable} -c {shlex.quote(HEADLESS)}")
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].startswith("Z"))
    assert process.alive()
    processes.send(process, signal.SIGKILL)
    assert processes.wait_gone(process, 5)
