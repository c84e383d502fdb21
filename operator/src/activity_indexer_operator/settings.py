"""The only place that reads the environment."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "OPERATOR_"


class SettingsError(ValueError):
    """One or more variables are wrong; a line for each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`namespaces` empty: all of them. Times are in seconds. `namespace` and `identity` are the Lease's.

    `pod_uid` is that of the pod `identity`, which the Lease then belongs to; "" outside a pod. `traces` is whether any
    are made; what else OTEL_… variables say of them, OpenTelemetry's SDK reads itself.
    """

    namespaces: tuple[str, ...] = ()
    namespace: str = "default"
    identity: str = "operator"
    pod_uid: str = ""
    lease_name: str = "activity-indexer-operator"
    lease_duration: float = 30.0
    indexer_image: str = "activity-indexer:dev"
    resync_interval: float = 25.0
    concurrency: int = 8
    kafka_timeout: float = 15.0
    cluster_timeout: float = 15.0
    stall_timeout: float = 300.0
    http_port: int = 8080
    log_level: str = "info"
    traces: bool = False
    traces_protocol: str = "http/protobuf"


def load_settings(environ: Mapping[str, str], hostname: str = "") -> Settings:
    """The settings from OPERATOR_… variables, and from OTEL_… ones; empty ones count as absent.

    Raises SettingsError, which tells everything that is wrong at once.
    """
    read = _Reader(environ)
    default = Settings()
    names = read.text("NAMESPACES", "").split(",")
    settings = Settings(
        namespaces=tuple(name.strip() for name in names if name.strip()),
        namespace=read.text("NAMESPACE", default.namespace),
        identity=read.text("IDENTITY", hostname or socket.gethostname()),
        pod_uid=read.text("POD_UID", ""),
        lease_name=read.text("LEASE_NAME", default.lease_name),
        lease_duration=read.number("LEASE_DURATION", default.lease_duration, least=3),
        indexer_image=read.text("INDEXER_IMAGE", default.indexer_image),
        resync_interval=read.number("RESYNC_INTERVAL", default.resync_interval),
        concurrency=int(read.number("CONCURRENCY", default.concurrency, least=1)),
        kafka_timeout=read.number("KAFKA_TIMEOUT", default.kafka_timeout),
        cluster_timeout=read.number("CLUSTER_TIMEOUT", default.cluster_timeout),
        stall_timeout=read.number("STALL_TIMEOUT", default.stall_timeout),
        http_port=int(read.number("HTTP_PORT", default.http_port)),
        log_level=read.level("LOG_LEVEL", default.log_level),
        traces=read.traces(),
        traces_protocol=read.protocol(default.traces_protocol),
    )
    if settings.stall_timeout <= settings.resync_interval:
        read.problems.append(f"{PREFIX}STALL_TIMEOUT: must be above {PREFIX}RESYNC_INTERVAL")
    if read.problems:
        raise SettingsError("\n".join(read.problems))
    return settings


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str) -> str:
        return self._environ.get(PREFIX + name) or default

    def number(self, name: str, default: float, least: float = 0.0) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not (value > 0 and least <= value < 1_000_000):
            expected = f"a number from {least:g}" if least else "a number above 0"
            self.problems.append(f"{PREFIX}{name}: expected {expected}, got {text!r}")
        return value

    def traces(self) -> bool:
        """By the standard's rules: an endpoint turns them on, and two variables turn them off."""
        exporter = self._one_of("OTEL_TRACES_EXPORTER", ("", "otlp", "none"))
        endpoints = map(self._otel, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"))
        disabled = self._otel("OTEL_SDK_DISABLED").lower() == "true"
        return not disabled and (exporter == "otlp" or (not exporter and any(endpoints)))

    def protocol(self, default: str) -> str:
        known = ("", "http/protobuf", "grpc")
        common = self._one_of("OTEL_EXPORTER_OTLP_PROTOCOL", known)
        return self._one_of("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", known) or common or default

    def _one_of(self, name: str, known: tuple[str, ...]) -> str:
        value = self._otel(name)
        if value not in known:
            self.problems.append(f"{name}: expected {' or '.join(filter(None, known))}, got {value!r}")
        return value

    def _otel(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def level(self, name: str, default: str) -> str:
        level = self.text(name, default).lower()
        if level.upper() not in logging.getLevelNamesMapping():
            self.problems.append(f"{PREFIX}{name}: expected debug, info, warning or error, got {level!r}")
        return level
