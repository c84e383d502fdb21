"""Starting, watching and ending server processes by pid and kernel start time."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from activity_stack.errors import StackError

POLL_INTERVAL = 0.05
_DETACH = '"$@" >&2 & echo $!'
"""A shell starts the server and ends at once: the server has no parent that could take it along."""


@dataclass(frozen=True)
class Launch:
    """How a server is started: its command, what is added to the environment, and as whom."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    user: str | None = None


@dataclass(frozen=True)
class Process:
    """A process as the kernel distinguishes it from every other: the pid alone may be used again."""

    pid: int
    born: int
    boot: str

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self.boot == boot_id() and start_tick(self.pid) == self.born


def boot_id() -> str:
    """The kernel's id of this boot: start ticks count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_tick(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None where there is none or only its zombie.

    A killed process looks like one while its last threads end, and holds its ports until then.
    """
    try:
        after_name = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    threads = int(after_name[17])
    return None if after_name[0] in "ZX" and threads <= 1 else int(after_name[19])


def identify(pid: int) -> Process:
    """The process that has this pid now; one that is gone already is never alive."""
    return Process(pid, start_tick(pid) or -1, boot_id())


def spawn(launch: Launch, log: Path) -> Process:
    """Start a server in a session of its own, with all it prints appended to `log`."""
    identity = identity_of(launch.user)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        started = subprocess.run(  # noqa: S603 - the stack's own commands
            ["/bin/sh", "-c", _DETACH, "sh", *launch.argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=launch.cwd,
            env={**os.environ, **launch.env},
            start_new_session=True,
            check=True,
            user=identity.user,
            group=identity.group,
            extra_groups=identity.extra_groups,
        )
    return identify(int(started.stdout))


@dataclass(frozen=True)
class Identity:
    """As whom a command runs, in the words of subprocess; the caller's own where nothing is set."""

    user: str | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None


def identity_of(user: str | None) -> Identity:
    """A user's identity, with the user's group alone."""
    return Identity() if user is None else Identity(user, pwd.getpwnam(user).pw_gid, ())


def stop(process: Process, request: signal.Signals, limit: float) -> bool:
    """Ask a process to end, and kill it after `limit` seconds. Whether it ended by itself."""
    if not send(process, request):
        return True
    if wait_gone(process, limit):
        return True
    send(process, signal.SIGKILL)
    if not wait_gone(process, limit):
        msg = f"pid {process.pid} outlived SIGKILL for {limit:.0f} s: see `ps -o stat,wchan {process.pid}`"
        raise StackError(msg)
    return False


def send(process: Process, number: signal.Signals) -> bool:
    """Signal a process if it is still the one that was started. Whether it was."""
    if not process.alive():
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def send_to_family(process: Process, number: signal.Signals) -> None:
    """Signal a process and those it started: PostgreSQL serves each client with a process of its own."""
    if not send(process, number):
        return
    for child in _children(process.pid):
        with suppress(ProcessLookupError):
            os.kill(child, number)


def is_paused(process: Process) -> bool:
    """Whether a process was stopped by a signal."""
    return process.alive() and _stat(process.pid)[0] in "Tt"


def wait_paused(process: Process, limit: float) -> None:
    """Wait until a stopping signal has arrived, `limit` seconds at most."""
    deadline = time.monotonic() + limit
    while not is_paused(process) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)


def _children(pid: int) -> list[int]:
    listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in listed for child in text.split()]


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def wait_gone(process: Process, limit: float) -> bool:
    """Wait for a process to end, `limit` seconds at most. Whether it did."""
    deadline = time.monotonic() + limit
    while process.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True
