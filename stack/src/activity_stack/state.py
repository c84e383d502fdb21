"""What an instance of the stack remembers between commands: `state.json` in its folder."""

from __future__ import annotations

import fcntl
import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from activity_stack.errors import StackError
from activity_stack.processes import Process
from activity_stack.settings import Ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from activity_stack.settings import Settings

LOCK_POLL_INTERVAL = 0.1


@dataclass(frozen=True)
class Running:
    """A server that was started: its process and what it is."""

    process: Process
    version: str
    recorded: str = ""
    """What the server writes at its end for its class archive, if this run is the training for one."""


@dataclass
class State:
    """The servers that were started, and the ports they were given."""

    ports: Ports | None = None
    ports_chosen: bool = False
    """Whether the ports were asked for: then they stay until others are."""
    servers: dict[str, Running] = field(default_factory=dict)

    def alive(self, name: str) -> Running | None:
        """The server's record if its process still runs."""
        record = self.servers.get(name)
        return record if record and record.process.alive() else None

    def running(self) -> list[str]:
        """The names of the servers that run."""
        return [name for name in self.servers if self.alive(name)]

    def settle_ports(self, settings: Settings) -> Settings:
        """Settings with the ports the instance has: those of running servers, else those last asked for."""
        if self.ports and (self.running() or (self.ports_chosen and not settings.explicit_ports)):
            return replace(settings, ports=self.ports, explicit_ports=self.ports_chosen)
        return settings


def load_state(path: Path) -> State:
    """The saved state; an empty one where there is none or where it was left damaged."""
    try:
        raw: dict[str, Any] = json.loads(path.read_bytes())
        known = {each.name for each in fields(Ports)}  # another version of the stack may have further servers
        saved = raw["ports"]
        ports = Ports(**{name: port for name, port in saved.items() if name in known}) if saved else None
        if saved and not known & saved.keys():
            return State()
        return State(
            ports, bool(raw.get("ports_chosen")), {name: _record(entry) for name, entry in raw["servers"].items()}
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return State()


def save_state(path: Path, state: State) -> None:
    """Replace the saved state in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "ports": asdict(state.ports) if state.ports else None,
        "ports_chosen": state.ports_chosen,
        "servers": {name: asdict(record) for name, record in state.servers.items()},
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(whole, indent=1))
    fresh.replace(path)


def _record(entry: dict[str, Any]) -> Running:
    return Running(Process(**entry["process"]), str(entry["version"]), str(entry.get("recorded", "")))


@contextmanager
def exclusive(path: Path, limit: float) -> Iterator[None]:
    """Hold a lock file while the block runs; the kernel frees it however the holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        _lock(handle.fileno(), path, time.monotonic() + limit)
        yield


def _lock(handle: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                msg = f"another command of the stack still holds {path}: wait for it, or end it"
                raise StackError(msg) from None
            time.sleep(LOCK_POLL_INTERVAL)
        else:
            return
