"""One instance of the stack: its servers started together, looked at, disturbed and ended."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from activity_stack import processes, training
from activity_stack.addresses import Addresses
from activity_stack.catalog import COMPANIONS, DEFAULT_NAMES, build_servers
from activity_stack.certs import ensure as ensure_certificates
from activity_stack.errors import NotWaitedFor, StackError
from activity_stack.jars import fetch
from activity_stack.ports import require_free
from activity_stack.progress import Progress
from activity_stack.server import Instance
from activity_stack.settings import PREFIX, load_settings, port_variable
from activity_stack.state import Running, exclusive, load_state, save_state

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from activity_stack.server import Server
    from activity_stack.settings import Settings

READY_POLL_INTERVAL = 0.1
LOG_TAIL_BYTES = 2000


@dataclass(frozen=True)
class Status:
    """A server as it is now; `pid` is None unless it runs."""

    name: str
    state: str
    version: str
    address: str
    pid: int | None
    log: str


class Stack:
    """The servers of one folder. Every method that changes something holds the folder's lock meanwhile."""

    def __init__(self, settings: Settings) -> None:
        """Look at the instance that `settings` names; nothing is started by this."""
        self._state_file = settings.home / "state.json"
        self._asked_for = settings
        self.settings = load_state(self._state_file).settle_ports(settings)
        self.instance = Instance(self.settings)
        self.servers = build_servers(self.instance)
        self.addresses = Addresses(self.instance)
        self._recording = threading.Lock()
        self._cancelled = threading.Event()

    @classmethod
    def load(cls, home: Path | str | None = None, port_offset: int | None = None) -> Stack:
        """The instance in `home`, by default the repository's, on the usual ports or `port_offset` above them."""
        return cls(load_settings(Path(home) if home else None, port_offset))

    def up(self, names: Iterable[str] | None = None, *, fresh: bool = False) -> list[Status]:
        """Have these servers running and ready, by default all but the optional one. Raises StackError."""
        self._refuse_other_ports()
        chosen = self._choose(self._with_companions(names))
        with self._exclusive():
            if fresh:
                self._stop(chosen)
                for server in chosen:
                    server.discard_data()
            self._start(chosen)
        return self.status([server.name for server in chosen])

    def down(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """End these servers, by default all, and say how each ended."""
        with self._exclusive():
            return self._stop(self._choose(names or self.servers))

    def discard(self) -> None:
        """End all servers and forget all their data, also what had to lie outside of the instance's folder."""
        with self._exclusive():
            servers = self._choose(self.servers)
            self._stop(servers)
            for server in servers:
                server.discard_data()

    def start(self, name: str) -> None:
        """Have one server running and ready."""
        self.up([name])

    def stop(self, name: str) -> None:
        """End one server."""
        self.down([name])

    def restart(self, name: str) -> None:
        """End one server and have it running and ready again."""
        self.stop(name)
        self.start(name)

    def kill(self, name: str) -> None:
        """End one server with SIGKILL: it gets to do nothing more."""
        with self._exclusive():
            process = self._running(name).process
            processes.send(process, signal.SIGKILL)
            processes.wait_gone(process, self.settings.limits.stop_timeout)

    def pause(self, name: str) -> None:
        """Freeze one server with SIGSTOP: connections stay open and nothing answers."""
        process = self._running(name).process
        processes.send_to_family(process, signal.SIGSTOP)
        processes.wait_paused(process, self.settings.limits.stop_timeout)

    def resume(self, name: str) -> None:
        """Let a paused server go on."""
        processes.send_to_family(self._running(name).process, signal.SIGCONT)

    def status(self, names: Iterable[str] | None = None) -> list[Status]:
        """How these servers are, by default all."""
        return [self._status(server) for server in self._choose(names or self.servers)]

    def environment(self) -> dict[str, str]:
        """The variables that point the service and its tests at this instance."""
        return self.addresses.environment()

    def _refuse_other_ports(self) -> None:
        asked_for = self._asked_for
        if asked_for.explicit_ports and asked_for.ports != self.settings.ports:
            names = ", ".join(load_state(self._state_file).running())
            msg = f"{names} in {asked_for.home} have other ports than asked for: end them first with `down`"
            raise StackError(msg)

    def _with_companions(self, names: Iterable[str] | None) -> list[str]:
        wanted = list(DEFAULT_NAMES if names is None else names)
        return wanted + [COMPANIONS[name] for name in wanted if COMPANIONS.get(name) in self.servers]

    def _choose(self, names: Iterable[str]) -> list[Server]:
        wanted = list(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in self.servers]
        if unknown:
            msg = f"no server {unknown[0]!r}: the servers are {', '.join(self.servers)}"
            raise StackError(msg)
        return [self.servers[name] for name in wanted]

    def _running(self, name: str) -> Running:
        self._choose([name])
        record = load_state(self._state_file).alive(name)
        if record is None:
            msg = f"{name} does not run: start it first"
            raise StackError(msg)
        return record

    def _start(self, chosen: list[Server]) -> None:
        self._cancelled.clear()
        self._make_ready([server for server in chosen if not load_state(self._state_file).alive(server.name)])
        with ThreadPoolExecutor(len(chosen) or 1) as pool:
            tasks = [pool.submit(self._start_one, server) for server in chosen]
            try:
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                self._cancelled.set()
        _raise_all([task.exception() for task in tasks])

    def _make_ready(self, absent: list[Server]) -> None:
        for server in absent:
            server.clear_leftovers()
            for listener, port in server.listens_on().items():
                require_free(port, server.name, PREFIX + port_variable(listener))
        ensure_certificates(self.settings.home / "certs")
        self._fetch(absent)

    def _fetch(self, servers: list[Server]) -> None:
        wanted = {jar.sha256: jar for server in servers for jar in server.missing_jars()}
        settings = self.settings
        if wanted:
            with exclusive(settings.dist / "lock", settings.limits.lock_timeout):
                fetch(list(wanted.values()), settings.dist, Progress("jars"), settings.limits.download_timeout)

    def _start_one(self, server: Server) -> None:
        record = load_state(self._state_file).alive(server.name)
        self._await_ready(server, record or self._spawn(server))

    def _spawn(self, server: Server) -> Running:
        version, recorded = server.prepare(), training.recording(server)
        process = processes.spawn(server.launch(), self.instance.log(server.name))
        record = Running(process, version, recorded)
        self._record(server.name, record)
        return record

    def _record(self, name: str, record: Running | None) -> None:
        with self._recording:
            state = load_state(self._state_file)
            state.servers.pop(name, None)
            if record:
                state.servers[name] = record
            state.ports, state.ports_chosen = self.settings.ports, self.settings.explicit_ports
            save_state(self._state_file, state)

    def _await_ready(self, server: Server, record: Running) -> None:
        deadline = time.monotonic() + self.settings.limits.start_timeout
        while not _is_ready(server):
            if not record.process.alive():
                raise StackError(self._failure(server, "ended before it was ready"))
            if time.monotonic() > deadline:
                raise StackError(self._failure(server, "was not ready in time"))
            if self._cancelled.wait(READY_POLL_INTERVAL):
                raise NotWaitedFor(f"{server.name} was not waited for")

    def _failure(self, server: Server, what: str) -> str:
        log = self.instance.log(server.name)
        tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return f"{server.name} {what}. The end of {log}:\n{tail}"

    def _stop(self, chosen: list[Server]) -> dict[str, str]:
        with ThreadPoolExecutor(len(chosen) or 1) as pool:
            return dict(zip([s.name for s in chosen], pool.map(self._stop_one, chosen), strict=True))

    def _stop_one(self, server: Server) -> str:
        record = load_state(self._state_file).alive(server.name)
        if record is None:
            self._record(server.name, None)
            return "did not run"
        limit = self.settings.limits.stop_timeout
        processes.send_to_family(record.process, signal.SIGCONT)
        willing = processes.stop(record.process, server.stop_signal, limit)
        if willing and record.recorded:
            training.finish(server, Path(record.recorded), self.instance.log(f"{server.name}-classes"))
        self._record(server.name, None)
        return "stopped" if willing else f"killed after {limit:.0f} s"

    def _status(self, server: Server) -> Status:
        record = load_state(self._state_file).alive(server.name)
        log = str(self.instance.log(server.name))
        if record is None:
            return Status(server.name, "stopped", "", server.address(), None, log)
        state = "paused" if processes.is_paused(record.process) else _state_of(server)
        return Status(server.name, state, record.version, server.address(), record.process.pid, log)

    def _exclusive(self) -> AbstractContextManager[None]:
        return exclusive(self.settings.home / "lock", self.settings.limits.lock_timeout)


def _raise_all(failures: list[BaseException | None]) -> None:
    real = [failure for failure in failures if failure and not isinstance(failure, NotWaitedFor)]
    strange = [failure for failure in real if not isinstance(failure, StackError)]
    if strange:
        raise strange[0]
    if real:
        raise StackError("\n".join(map(str, real)))


def _state_of(server: Server) -> str:
    return "ready" if _is_ready(server) else "not ready"


def _is_ready(server: Server) -> bool:
    try:
        return server.ready()
    except (OSError, HTTPException, ValueError):
        return False
