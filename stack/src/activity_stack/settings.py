"""Where an instance of the stack lives, its ports and its limits: the only place that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from activity_stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "ACTIVITY_STACK_"
SOURCES = Path(__file__).resolve().parents[2]
"""The folder `stack/` of the repository: jar locks and Java sources lie there."""


@dataclass(frozen=True)
class Ports:
    """The port of every listener; all are on 127.0.0.1 and none is the server's usual one.

    Moved by a multiple of 100, no port becomes that of another listener.
    """

    kafka: int = 19092
    kafka_ssl: int = 19093
    kafka_sasl_ssl: int = 19094
    kafka_controller: int = 19095
    elasticsearch: int = 19200
    elasticsearch_transport: int = 19210
    elasticsearch_secure: int = 19201
    elasticsearch_secure_transport: int = 19211
    elasticsearch_8: int = 19202
    elasticsearch_8_transport: int = 19212
    redis: int = 16379
    redis_tls: int = 16380
    postgres: int = 15432
    postgres_tls: int = 15433

    def moved(self, offset: int) -> Ports:
        """The same ports, each `offset` higher."""
        return Ports(**{field.name: getattr(self, field.name) + offset for field in fields(self)})


@dataclass(frozen=True)
class Limits:
    """How long the stack waits, in seconds."""

    start_timeout: float = 180.0
    stop_timeout: float = 40.0
    download_timeout: float = 60.0
    lock_timeout: float = 600.0


@dataclass(frozen=True)
class Settings:
    """One instance: its folder, the folder of downloads, its ports, whether the machine's servers may be used."""

    home: Path
    dist: Path
    ports: Ports
    limits: Limits
    use_system: bool = True
    explicit_ports: bool = False
    """Whether the ports were asked for, rather than left to the defaults."""


def load_settings(
    home: Path | None = None,
    port_offset: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from arguments, then `ACTIVITY_STACK_*`, then defaults. Raises StackError on what is no number."""
    env = os.environ if environ is None else environ
    base = Path(env.get(f"{PREFIX}HOME") or SOURCES.parent / ".stack")
    offset = _number(env, "PORT_OFFSET", 0) if port_offset is None else port_offset
    ports = Ports().moved(offset)
    chosen = {f.name: _number(env, port_variable(f.name), getattr(ports, f.name)) for f in fields(Ports)}
    limits = {f.name: float(_number(env, f.name.upper(), int(f.default))) for f in fields(Limits)}  # type: ignore[arg-type]
    return Settings(
        home=(home or base).resolve(),
        dist=Path(env.get(f"{PREFIX}DIST") or base / "dist").resolve(),
        ports=Ports(**chosen),
        limits=Limits(**limits),
        explicit_ports=port_offset is not None or any(env.get(PREFIX + name) for name in _port_names()),
        use_system=env.get(f"{PREFIX}SYSTEM", "1").lower() not in {"0", "false", "no"},
    )


def port_variable(listener: str) -> str:
    """The environment variable of a listener's port, less the common prefix."""
    return f"{listener.upper()}_PORT"


def _port_names() -> list[str]:
    return ["PORT_OFFSET", *(port_variable(field.name) for field in fields(Ports))]


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(PREFIX + name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        msg = f"{PREFIX}{name}={text!r}: expected a whole number; unset it or give one"
        raise StackError(msg) from None
