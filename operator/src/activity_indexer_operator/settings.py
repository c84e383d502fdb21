"""The only place that reads the environment: every setting is declared once, here."""

from __future__ import annotations

import logging
import socket
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from activity_common.otlp_variables import export_is_on
from activity_common.settings_section import Section, problems

LARGEST: Final = 1_000_000


class SettingsError(ValueError):
    """One or more variables are wrong; a line for each."""


def _names(value: object) -> object:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _level(value: str) -> str:
    if value.upper() not in logging.getLevelNamesMapping():
        raise ValueError("expected debug, info, warning or error")
    return value.lower()


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Level = Annotated[str, AfterValidator(_level)]
Seconds = Annotated[float, Field(gt=0, lt=LARGEST)]
Standard = Annotated[str, BeforeValidator(_stripped)]
"""A value that OpenTelemetry's SDK reads, too."""
Protocol = Annotated[Literal["", "http/protobuf", "grpc"], BeforeValidator(_stripped)]


class Settings(Section):
    """What OPERATOR_… variables set, and those OTEL_… ones that decide whether traces are made."""

    model_config = SettingsConfigDict(env_prefix="OPERATOR_")

    namespaces: Names = Field(default=(), description="Namespaces to watch, separated by commas; empty: all.")
    namespace: str = Field(default="default", description="Namespace of the Lease.")
    identity: str = Field(default_factory=socket.gethostname, description="Name of this instance in the Lease.")
    pod_uid: str = Field(
        default="", description="Uid of this pod, which the Lease then belongs to; empty outside a pod."
    )
    lease_name: str = Field(default="activity-indexer-operator", description="Name of the Lease.")
    lease_duration: float = Field(
        default=30.0, ge=3, lt=LARGEST, description="Time after which a Lease is free (seconds)."
    )
    indexer_image: str = Field(
        default="activity-indexer:dev", description="Image of indexers whose template names none."
    )
    resync_interval: Seconds = Field(default=25.0, description="How often each object is looked at (seconds).")
    concurrency: int = Field(default=8, ge=1, lt=LARGEST, description="Objects that are worked on at once.")
    kafka_timeout: Seconds = Field(default=15.0, description="Time for the answers of a Kafka cluster (seconds).")
    cluster_timeout: Seconds = Field(default=15.0, description="Time for an answer of the API server (seconds).")
    stall_timeout: Seconds = Field(
        default=300.0,
        validate_default=True,
        description="Time without a finished pass after which the operator counts as stalled (seconds).",
    )
    http_port: int = Field(default=8080, ge=1, lt=LARGEST, description="Port of probes and metrics.")
    log_level: Level = Field(default="info", description="Least level that is logged.")
    exporter: Annotated[Literal["", "otlp", "none"], BeforeValidator(_stripped)] = Field(
        default="",
        validation_alias="OTEL_TRACES_EXPORTER",
        description="none: no traces; otlp: traces though no endpoint is named; empty: traces if one is.",
    )
    endpoint: Standard = Field(
        default="",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Where traces go by OTLP; empty: nowhere.",
    )
    traces_endpoint: Standard = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", description="The same: the whole URL."
    )
    protocol: Protocol = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL", description="How OTLP is spoken."
    )
    protocol_of_traces: Protocol = Field(
        default="", validation_alias="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", description="The same for traces alone."
    )
    sdk_disabled: Standard = Field(
        default="", validation_alias="OTEL_SDK_DISABLED", description="true: no traces at all."
    )

    @field_validator("stall_timeout")
    @classmethod
    def _above_resync_interval(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("resync_interval", 0):
            raise ValueError("must be above OPERATOR_RESYNC_INTERVAL")
        return value

    @property
    def traces(self) -> bool:
        """Whether traces are made."""
        return export_is_on(self.exporter, self.traces_endpoint, self.endpoint, disabled=self.sdk_disabled)

    @property
    def traces_protocol(self) -> str:
        """How they are sent."""
        return self.protocol_of_traces or self.protocol or "http/protobuf"


def load_settings() -> Settings:
    """The settings from the environment. Raises SettingsError with a line for each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(problems(Settings, error))) from None
