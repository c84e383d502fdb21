"""The only place that reads the environment: every setting is declared once, here."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsConfigDict

from activity_common.otlp_variables import export_is_on
from activity_common.setting_names import dead_letter_topic, parked_topic
from activity_common.settings_section import Section, problems, variable
from activity_common.trace_context import VARIABLE
from activity_indexer.database_url import DatabaseAddress, parse_database_url
from activity_indexer.errors import SettingsError
from activity_indexer.memory import DEFAULT_BUDGET, LARGEST_RECORDS, SMALLEST_BUDGET, MemoryShares
from activity_indexer.redis_url import PATTERN, check_redis_url
from activity_indexer.setting_values import (
    Endpoint,
    ExistingFile,
    KafkaName,
    Megabyte,
    Milliseconds,
    Nodes,
    OptionalKafkaName,
    Seconds,
    Servers,
    database_url,
    kafka_name_problem,
    secret_url,
    shown,
)

FETCH_WAIT: Final = 0.5
"""How long a broker may hold back the answer to a fetch when it has nothing to send (seconds)."""

HEARTBEATS: Final = 3
"""Heartbeats that must fit into a session: one that is late or lost does not end it."""


LAST_PORT: Final = 65_535


class KafkaSettings(Section):
    """The broker, the topics and the consumer group."""

    model_config = SettingsConfigDict(env_prefix="KAFKA_")

    bootstrap_servers: Servers = Field(
        "kafka:9093", description="Brokers to ask first: host:port, separated by commas."
    )
    transactions_topic: KafkaName = Field("transactions", description="Topic of the transaction events.")
    consumer_group: str = Field("transaction_indexer", min_length=1, description="Consumer group of the indexer.")
    dead_letter_topic: OptionalKafkaName = Field(
        "", description="Dead-letter topic; empty: the transactions topic's name with `.dlq`."
    )
    dead_letter_retention: Seconds = Field(
        14 * 86_400.0, description="How long a dead-letter topic that is created keeps its records (seconds)."
    )
    parked_topic: OptionalKafkaName = Field(
        "",
        description="Topic of dead letters that came back too often; empty: the dead-letter topic, with `.parked`.",
    )
    max_replays: int = Field(
        3, ge=1, description="How often a replay sends a dead letter before the next one parks it."
    )
    topic_partitions: int = Field(
        0,
        ge=0,
        description="Create the transactions topic with this many partitions when it does not exist; 0: wait for it.",
    )
    replication_factor: int = Field(
        0, ge=0, description="Replicas of topics that are created; 0: as the transactions topic, else at most 3."
    )
    client_id: str = Field(
        "activity-indexer", min_length=1, description="Name that the broker sees in its logs and quotas."
    )
    group_instance_id: OptionalKafkaName = Field(
        "",
        description="Static membership: a name of this instance alone that stays the same after a restart; "
        "empty: dynamic membership.",
    )
    auto_offset_reset: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where a group begins that has no committed offsets for the topic. Partitions that are added later "
        "and offsets out of range begin at the earliest record, whatever this says.",
    )
    session_timeout: Seconds = Field(
        9.0,
        description="Time without a heartbeat after which the broker removes a member and gives its partitions to "
        "others (seconds). Longer pauses of a process cost a rebalance.",
    )
    heartbeat_interval: Seconds = Field(
        1.0, description="How often a member sends a heartbeat (seconds); at most a third of KAFKA_SESSION_TIMEOUT."
    )
    rebalance_timeout: Seconds = Field(
        60.0, description="Time for a member to finish and rejoin in a rebalance (seconds)."
    )
    metadata_max_age: Seconds = Field(10.0, description="How soon new partitions are seen (seconds).")
    request_timeout: Seconds = Field(20.0, description="Limit of one request to a broker (seconds).")
    max_request_bytes: int = Field(
        16 * Megabyte,
        ge=1024,
        description="Largest record that is sent to the dead-letter topic whole (bytes, uncompressed).",
    )
    max_record_bytes: int = Field(
        16 * Megabyte,
        ge=1024,
        description="Largest record that is processed (bytes, decompressed); a larger one is dead-lettered with its "
        "beginning. A batch of records may take four times as much.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the connection is secured."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How a SASL user logs in."
    )
    sasl_username: str = Field("", description="SASL user.")
    sasl_password: SecretStr = Field(SecretStr(""), description="SASL password.")
    ssl_ca_file: ExistingFile | None = Field(None, description="CA certificates (PEM); absent: the system's.")
    ssl_cert_file: ExistingFile | None = Field(None, description="Client certificate (PEM).")
    ssl_key_file: ExistingFile | None = Field(None, description="Client key (PEM).")
    ssl_key_password: SecretStr = Field(SecretStr(""), description="Password of the client key.")
    ssl_check_hostname: bool = Field(True, description="Whether the broker's certificate must name its host.")

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSettings:
        problems = [*self._login_problems(), *self._topic_problems(), *self._time_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _login_problems(self) -> Iterator[str]:
        login = self.sasl_username and self.sasl_password.get_secret_value()
        if self.security_protocol.startswith("SASL") and not login:
            yield "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed with KAFKA_SECURITY_PROTOCOL=SASL_…"

    def _topic_problems(self) -> Iterator[str]:
        names = {
            "KAFKA_TRANSACTIONS_TOPIC": self.transactions_topic,
            "KAFKA_DEAD_LETTER_TOPIC": self.dead_letters,
            "KAFKA_PARKED_TOPIC": self.parked,
        }
        for (one, name), (other, same) in combinations(names.items(), 2):
            if name == same:
                yield f"{other}: must be another topic than {one}, both are {name!r}: dead letters would be read again"
        for variable_name, name in names.items():
            if problem := kafka_name_problem(name):
                yield f"{variable_name}: {problem}, got {name!r}, which is derived from another name: set it"

    def _time_problems(self) -> Iterator[str]:
        if self.heartbeat_interval * HEARTBEATS > self.session_timeout:
            yield (
                f"KAFKA_HEARTBEAT_INTERVAL: must be at most a third of KAFKA_SESSION_TIMEOUT "
                f"({self.session_timeout:g}), got {self.heartbeat_interval:g}"
            )
        if self.session_timeout > self.rebalance_timeout:
            yield (
                f"KAFKA_SESSION_TIMEOUT: must be at most KAFKA_REBALANCE_TIMEOUT ({self.rebalance_timeout:g}), "
                f"got {self.session_timeout:g}"
            )
        if self.request_timeout <= FETCH_WAIT:
            yield (
                f"KAFKA_REQUEST_TIMEOUT: must be above {FETCH_WAIT:g}, for which a broker may wait with the answer to "
                f"a fetch, got {self.request_timeout:g}"
            )

    @property
    def dead_letters(self) -> str:
        """Name of the dead-letter topic."""
        return self.dead_letter_topic or dead_letter_topic(self.transactions_topic)

    @property
    def parked(self) -> str:
        """Name of the topic of parked dead letters."""
        return self.parked_topic or parked_topic(self.dead_letters)

    @property
    def audit_group(self) -> str:
        """Consumer group of the audit."""
        return f"{self.consumer_group}.audit"


class ElasticsearchSettings(Section):
    """Where documents go."""

    model_config = SettingsConfigDict(env_prefix="ELASTICSEARCH_")

    url: Nodes = Field(
        SecretStr("http://elasticsearch:9200"),
        description="One node or several, separated by commas, each with a path if it has one; without a port 80, or "
        "443 of https.",
    )
    index: str = Field(
        "transactions",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,200}$",
        description="Alias that is written and searched; the index behind it is this name with -000001.",
    )
    create_index: bool = Field(True, description="Create the index, its mapping and alias when absent.")
    shards: int = Field(1, ge=1, description="Primary shards of an index that is created.")
    replicas: int = Field(0, ge=0, description="Replicas of an index that is created.")
    refresh_interval: str = Field(
        "1s", pattern=r"^(-1|\d+(ms|s|m))$", description="How soon documents become searchable."
    )
    username: str = Field("", description="User for basic authentication.")
    password: SecretStr = Field(SecretStr(""), description="Password for basic authentication.")
    api_key: SecretStr = Field(SecretStr(""), description="API key (encoded), instead of a user.")
    ca_file: ExistingFile | None = Field(None, description="CA certificates (PEM); absent: the system's.")
    verify_certs: bool = Field(True, description="Whether the server's certificate is checked.")
    request_timeout: Seconds = Field(30.0, description="Limit of one request (seconds).")

    @model_validator(mode="after")
    def _one_login(self) -> ElasticsearchSettings:
        if self.api_key.get_secret_value() and self.username:
            raise ValueError("set ELASTICSEARCH_API_KEY or ELASTICSEARCH_USERNAME, not both")
        in_url = any(urlsplit(host).username is not None for host in self.hosts)
        if in_url and (self.api_key.get_secret_value() or self.username):
            raise ValueError(
                "set a user in ELASTICSEARCH_URL, or ELASTICSEARCH_USERNAME, or ELASTICSEARCH_API_KEY: one of them"
            )
        return self

    @property
    def hosts(self) -> list[str]:
        """URLs of the nodes."""
        return [url.strip() for url in self.url.get_secret_value().split(",")]


class RedisSettings(Section):
    """Where seen message ids are kept."""

    model_config = SettingsConfigDict(env_prefix="REDIS_")

    url: Annotated[SecretStr, secret_url("redis", "rediss")] = Field(
        SecretStr("redis://redis:6379/0"),
        description="Server and database; rediss:// for TLS.",
        json_schema_extra={"pattern": PATTERN},
    )
    ca_file: ExistingFile | None = Field(None, description="CA certificates (PEM) for rediss://; absent: the system's.")
    timeout: Seconds = Field(
        0.25,
        description="Limit of one round trip (seconds); then memory alone answers. Time in which the indexer itself "
        "was busy does not count.",
    )
    retry_interval: Seconds = Field(5.0, description="After Redis was unavailable: seconds before it is tried again.")
    key_prefix: str = Field("activity-indexer", min_length=1, description="First part of every key.")

    @field_validator("url")
    @classmethod
    def _understood(cls, value: SecretStr) -> SecretStr:
        check_redis_url(value.get_secret_value())
        return value


class DatabaseSettings(Section):
    """Where the audit is written."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_")

    url: Annotated[SecretStr, database_url] = Field(
        SecretStr("postgresql://astropay:astropay@postgres:5432/activity_feed"),
        description="PostgreSQL servers, user and database, with the parameters of libpq.",
    )
    ca_file: ExistingFile | None = Field(
        None, description="CA certificates (PEM); given, the server must show one of them."
    )
    pool_size: int = Field(2, ge=1, le=50, description="Connections at most.")
    timeout: Seconds = Field(30.0, description="Limit of one statement (seconds).")
    batch_size: int = Field(2000, ge=1, le=10_000, description="Events in one statement at most.")
    pipeline: str = Field(
        "",
        max_length=200,
        description="Name of the pipeline that the audit's rows belong to; empty: the consumer group's.",
    )
    shared: bool = Field(
        False, description="Whether the database may hold the rows of other pipelines, too; they are kept apart."
    )

    @property
    def address(self) -> DatabaseAddress:
        """The URL, taken apart for the driver. Raises WrongDatabaseUrl when a file is no longer there."""
        return parse_database_url(self.url.get_secret_value(), self.ca_file)


class ConsumerSettings(Section):
    """How the indexer works."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_")

    batch_size: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Events with which a batch is full and can be sent. Batches that wait are sent together, see "
        "CONSUMER_REQUEST_EVENTS.",
    )
    batch_timeout: Seconds = Field(5.0, description="Age at which a batch is sent though it is not full (seconds).")
    batch_bytes: int = Field(
        5 * Megabyte,
        ge=1024,
        le=90 * Megabyte,
        description="Bytes of event values with which a batch is full, and that one request takes at most.",
    )
    request_events: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="Events up to which batches that are full or old enough are sent together in one request; at "
        "least CONSUMER_BATCH_SIZE.",
    )
    enable_audit_db: bool = Field(True, description="Whether the audit is written to PostgreSQL.")
    max_in_flight: int = Field(
        8, ge=1, le=64, description="Bulk requests under way at once at most; adapted below that."
    )
    max_retries: int = Field(
        3, ge=0, le=100, description="Further tries for an event whose failure has no known cause."
    )
    push_back_tries: int = Field(
        10,
        ge=1,
        le=1000,
        description="Tries of a document that Elasticsearch pushes back alone while it takes others; then it is "
        "dead-lettered.",
    )
    push_back_timeout: Seconds = Field(120.0, description="Least time over which these tries are made (seconds).")
    backoff_initial: Seconds = Field(0.2, description="First wait before a retry (seconds); doubles, with jitter.")
    backoff_max: Seconds = Field(10.0, description="Longest wait before a retry (seconds).")
    latency_target: Seconds = Field(5.0, description="Bulk latency above which fewer requests are under way (seconds).")
    max_clock_skew: Seconds = Field(86_400.0, description="How far in the future an event may be (seconds).")
    dedup_memory_size: int = Field(100_000, ge=0, description="Message ids kept in memory.")
    dedup_ttl: Seconds = Field(
        86_400.0,
        description="How long Redis keeps a message id (seconds); it is relied on for index.gc_deletes (60 s) at most, "
        "then Elasticsearch is asked.",
    )
    enable_dedup: bool = Field(True, description="Whether duplicates are looked for before Elasticsearch is asked.")
    breaker_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of valid events refused by Elasticsearch that stops intake instead of dead-lettering all; "
        "1: never.",
    )
    breaker_window: int = Field(1000, ge=10, description="Valid events over which that share is taken.")
    breaker_min_failures: int = Field(
        100, ge=1, description="Failed events in the window, of valid ones, before intake can stop."
    )
    breaker_retry_interval: Seconds = Field(
        30.0, description="How often failed documents, and then one more batch, are tried meanwhile (seconds)."
    )
    memory_budget: int = Field(
        DEFAULT_BUDGET,
        ge=SMALLEST_BUDGET,
        description="Memory for all that grows with the size of events (bytes); the process takes 256 MiB beside it.",
    )
    fetch_max_records: int = Field(1000, ge=1, le=10_000, description="Records taken from the client at once at most.")
    commit_interval: Seconds = Field(1.0, description="How often offsets are committed (seconds).")
    shutdown_timeout: Seconds = Field(
        20.0,
        description="Time for the whole end from SIGTERM on, and for a rebalance: to finish what is under way, commit "
        "and leave (seconds).",
    )
    stall_timeout: Seconds = Field(
        120.0, description="Time without progress after which the indexer calls itself dead (seconds)."
    )
    http_host: str = Field("0.0.0.0", description="Address of health and metrics.")  # noqa: S104 - a container's port
    http_port: int = Field(8080, ge=0, le=LAST_PORT, description="Port of health and metrics; 0: any free one.")
    status_page: bool = Field(True, description="Whether that port shows a status page: state, plots, settings.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )
    freshness_interval: float = Field(
        10.0, ge=0, description="How often an event is followed until a search finds it (seconds); 0: never."
    )
    enrichments: str = Field("", description="Names of enrichment strategies to use, separated by commas; empty: all.")

    @property
    def memory(self) -> MemoryShares:
        """The parts of the memory budget."""
        return MemoryShares(self.memory_budget)


class OpenTelemetrySettings(Section):
    """Where traces and metrics go, by the standard variables of OpenTelemetry; docs/tracing.md names further ones."""

    model_config = SettingsConfigDict(env_prefix="OTEL_")

    exporter_otlp_endpoint: Endpoint = Field(
        "", description="Where traces and metrics go by OTLP, such as http://collector:4318; empty: nowhere."
    )
    exporter_otlp_traces_endpoint: Endpoint = Field("", description="The same for traces alone: the whole URL.")
    exporter_otlp_metrics_endpoint: Endpoint = Field("", description="The same for metrics alone: the whole URL.")
    exporter_otlp_protocol: Literal["http/protobuf", "grpc"] = Field(
        "http/protobuf", description="How OTLP is spoken; grpc is at port 4317."
    )
    exporter_otlp_traces_protocol: Literal["", "http/protobuf", "grpc"] = Field(
        "", description="The same for traces alone."
    )
    exporter_otlp_metrics_protocol: Literal["", "http/protobuf", "grpc"] = Field(
        "", description="The same for metrics alone."
    )
    traces_exporter: Literal["", "otlp", "none"] = Field(
        "", description="none: no traces; otlp: traces though no endpoint is named; empty: traces if one is."
    )
    metrics_exporter: Literal["", "otlp", "none", "prometheus"] = Field(
        "", description="The same for metrics; prometheus: at /metrics only, where they always are."
    )
    metric_export_interval: Milliseconds = Field(60_000, description="How often metrics are sent (milliseconds).")
    bsp_max_queue_size: int = Field(2048, gt=0, description="Spans that wait to be sent at most; others are dropped.")
    span_link_count_limit: int = Field(10_000, ge=0, description="Links of one span at most: events of one batch.")
    service_name: str = Field(
        "activity-indexer", min_length=1, description="Name of this service in traces and metrics."
    )
    sdk_disabled: bool = Field(False, description="Whether all of this is off, whatever else is set.")

    @property
    def traces(self) -> bool:
        """Whether traces are made."""
        return self._on(self.traces_exporter, self.exporter_otlp_traces_endpoint)

    @property
    def metrics(self) -> bool:
        """Whether metrics are sent."""
        return self._on(self.metrics_exporter, self.exporter_otlp_metrics_endpoint)

    def _on(self, exporter: str, endpoint: str) -> bool:
        return export_is_on(exporter, endpoint, self.exporter_otlp_endpoint, disabled=self.sdk_disabled)


SECTIONS: tuple[type[Section], ...] = (
    KafkaSettings,
    ElasticsearchSettings,
    RedisSettings,
    DatabaseSettings,
    ConsumerSettings,
    OpenTelemetrySettings,
)


class Pipeline(NamedTuple):
    """Whose rows an audit writes and reads: one topic, read for one index.

    `shared`: its rows may be in one database with those of others.
    """

    name: str
    topic: str
    shared: bool = False


class Settings:
    """All settings of one indexer."""

    def __init__(self, sections: Mapping[type[Section], Any]) -> None:
        self._sections = dict(sections)
        self.kafka: KafkaSettings = sections[KafkaSettings]
        self.elasticsearch: ElasticsearchSettings = sections[ElasticsearchSettings]
        self.redis: RedisSettings = sections[RedisSettings]
        self.database: DatabaseSettings = sections[DatabaseSettings]
        self.consumer: ConsumerSettings = sections[ConsumerSettings]
        self.otel: OpenTelemetrySettings = sections[OpenTelemetrySettings]
        if self.kafka.rebalance_timeout <= self.consumer.shutdown_timeout:
            raise SettingsError(
                "KAFKA_REBALANCE_TIMEOUT: must be above CONSUMER_SHUTDOWN_TIMEOUT "
                f"({self.consumer.shutdown_timeout:g}), got {self.kafka.rebalance_timeout:g}"
            )
        if self.consumer.memory_budget < (least := LARGEST_RECORDS * self.kafka.max_record_bytes):
            raise SettingsError(
                f"CONSUMER_MEMORY_BUDGET: must be at least {LARGEST_RECORDS} times KAFKA_MAX_RECORD_BYTES ({least}), "
                f"got {self.consumer.memory_budget}: raise it and the memory limit, or lower KAFKA_MAX_RECORD_BYTES"
            )

    def of_process(self, number: int) -> Settings:
        """The settings of one of several processes on this machine, from 1 on: what they cannot share is their own.

        Raises SettingsError when there is no such port.
        """
        consumer, kafka = self.consumer, self.kafka
        port = consumer.http_port and consumer.http_port + number - 1
        if port > LAST_PORT:
            raise SettingsError(
                f"CONSUMER_HTTP_PORT: must leave a port for each process, got {consumer.http_port}, which process "
                f"{number} would exceed: choose a lower one, or 0 for any free ones"
            )
        instance = kafka.group_instance_id and f"{kafka.group_instance_id}-{number}"
        return Settings(
            self._sections
            | {
                ConsumerSettings: consumer.model_copy(update={"http_port": port}),
                KafkaSettings: kafka.model_copy(update={"group_instance_id": instance}),
            }
        )

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline that this indexer and its audit are."""
        name = self.database.pipeline or self.kafka.consumer_group
        return Pipeline(name, self.kafka.transactions_topic, self.database.shared)

    def in_force(self) -> Iterator[tuple[str, str, str]]:
        """Variable, value as users may see it, and meaning of every setting."""
        for section, field, name, info in declared():
            yield name, shown(getattr(self._sections[section], field)), info.description or ""


def load_settings() -> Settings:
    """The settings from the environment.

    Raises SettingsError with a line for each variable that is wrong.
    """
    sections: dict[type[Section], Any] = {}
    found: list[str] = []
    for section in SECTIONS:
        try:
            sections[section] = section()
        except ValidationError as error:
            found += problems(section, error)
    if found:
        raise SettingsError("\n".join(found))
    return Settings(sections)


def declared() -> Iterator[tuple[type[Section], str, str, FieldInfo]]:
    """Section, field, variable and declaration of every setting."""
    for section in SECTIONS:
        for field, info in section.model_fields.items():
            yield section, field, variable(section, field), info


def callers_trace() -> str:
    """The trace that this process is part of, as its starter says in TRACEPARENT; empty: none."""
    return os.environ.get(VARIABLE, "")


def unknown_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Variables that look like settings and are none, each with the setting that may be meant.

    Only those that resemble a setting are reported: Kubernetes itself sets variables such as KAFKA_PORT.
    """
    ours = [section for section in SECTIONS if section is not OpenTelemetrySettings]  # OTEL_ has many that others read
    names = [name for _, _, name, _ in declared()]
    for given in environ:
        if given in names or not given.startswith(tuple(str(each.model_config["env_prefix"]) for each in ours)):
            continue
        if close := difflib.get_close_matches(given, names, n=1, cutoff=0.85):
            yield given, close[0]
