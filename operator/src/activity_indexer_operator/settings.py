"""The only place that reads the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(ValueError):
    """One or more variables are wrong; a line for each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`namespaces` empty: all of them. Times are in seconds."""

    namespaces: tuple[str, ...] = ()
    resync_interval: float = 30.0
    kafka_timeout: float = 15.0
    cluster_timeout: float = 15.0
    stall_timeout: float = 300.0
    http_port: int = 8080
    log_level: str = "info"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings from OPERATOR_… variables; empty ones count as absent.

    Raises SettingsError, which tells everything that is wrong at once.
    """
    problems: list[str] = []

    def number(name: str, default: float) -> float:
        text = environ.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1_000_000:
            problems.append(f"{name}: expected a number above 0, got {text!r}")
        return value

    level = (environ.get("OPERATOR_LOG_LEVEL") or "info").lower()
    if level.upper() not in logging.getLevelNamesMapping():
        problems.append(f"OPERATOR_LOG_LEVEL: expected debug, info, warning or error, got {level!r}")
    names = (environ.get("OPERATOR_NAMESPACES") or "").split(",")
    settings = Settings(
        namespaces=tuple(name.strip() for name in names if name.strip()),
        resync_interval=number("OPERATOR_RESYNC_INTERVAL", 30.0),
        kafka_timeout=number("OPERATOR_KAFKA_TIMEOUT", 15.0),
        cluster_timeout=number("OPERATOR_CLUSTER_TIMEOUT", 15.0),
        stall_timeout=number("OPERATOR_STALL_TIMEOUT", 300.0),
        http_port=int(number("OPERATOR_HTTP_PORT", 8080)),
        log_level=level,
    )
    if settings.stall_timeout <= settings.resync_interval:
        problems.append("OPERATOR_STALL_TIMEOUT: must be above OPERATOR_RESYNC_INTERVAL")
    if problems:
        raise SettingsError("\n".join(problems))
    return settings
