"""The indexer's settings from the fields of an ActivityIndexer; names are those of docs/settings.md. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from activity_common import setting_names as names
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.indexer.template import Database, Elasticsearch, Redis, Template
from activity_indexer_operator.kafka.spec import Security
from activity_indexer_operator.kube.objects import FileRef, KeyRef

HTTP_PORT: Final = 8080
FILES: Final = "/etc/activity-indexer"
"""Where certificates are mounted, a folder for each server."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A variable whose value is in a Secret; where `optional`, the Secret need not have the entry."""

    variable: str
    ref: KeyRef
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Mounted:
    """A file from a Secret: the variable that names it, the Secret's entry, the folder."""

    variable: str
    secret: str
    key: str
    folder: str

    @property
    def path(self) -> str:
        """Where it is in the container."""
        return f"{FILES}/{self.folder}/{self.key}"


@dataclass(frozen=True, slots=True)
class Environment:
    """`plain` goes to the ConfigMap, the rest to the pod."""

    plain: dict[str, str]
    secrets: tuple[Secret, ...]
    files: tuple[Mounted, ...]


def environment(spec: Spec, template: Template) -> Environment:
    """All variables of the indexer."""
    files = tuple(_files(spec, template))
    plain = _kafka(spec) | _sinks(template) | _consumer(template) | {file.variable: file.path for file in files}
    return Environment(plain, tuple(_secrets(spec.kafka.security, template)), files)


def _kafka(spec: Spec) -> dict[str, str]:
    kafka, security = spec.kafka, spec.kafka.security
    return {
        names.KAFKA_BOOTSTRAP_SERVERS: ",".join(kafka.bootstrap_servers),
        names.KAFKA_TRANSACTIONS_TOPIC: kafka.topic,
        names.KAFKA_TOPIC_PARTITIONS: str(kafka.topic_partitions),
        names.KAFKA_CONSUMER_GROUP: kafka.consumer_group,
        names.KAFKA_DEAD_LETTER_TOPIC: spec.dead_letter_topic,
        names.KAFKA_PARKED_TOPIC: spec.parking_topic,
        names.KAFKA_MAX_REPLAYS: str(spec.dead_letter.max_replays),
        names.KAFKA_AUTO_OFFSET_RESET: kafka.start_from.lower(),
        names.KAFKA_SECURITY_PROTOCOL: security.protocol,
        names.KAFKA_SSL_CHECK_HOSTNAME: _word(security.check_hostname),
        **({names.KAFKA_SASL_MECHANISM: security.sasl_mechanism} if security.sasl_mechanism else {}),
    }


def _sinks(template: Template) -> dict[str, str]:
    search = template.elasticsearch
    return {
        names.ELASTICSEARCH_INDEX: search.index,
        names.ELASTICSEARCH_CREATE_INDEX: _word(search.create_index),
        **({names.ELASTICSEARCH_URL: search.url} if search.url else {}),
        **({names.REDIS_URL: template.redis.url} if template.redis.url else {}),
        **({names.DATABASE_URL: template.audit.database.url} if template.audit.database.url else {}),
    }


def _consumer(template: Template) -> dict[str, str]:
    batch = template.batch
    return {
        names.CONSUMER_BATCH_SIZE: str(batch.size),
        names.CONSUMER_BATCH_TIMEOUT: f"{batch.timeout_seconds:g}",
        **({names.CONSUMER_BATCH_BYTES: str(batch.bytes)} if batch.bytes else {}),
        names.CONSUMER_ENABLE_AUDIT_DB: _word(template.audit.enabled),
        names.CONSUMER_ENABLE_DEDUP: _word(template.dedup),
        names.CONSUMER_ENRICHMENTS: ",".join(template.enrichments),
        names.CONSUMER_SHUTDOWN_TIMEOUT: str(template.shutdown_timeout_seconds),
        names.CONSUMER_HTTP_PORT: str(HTTP_PORT),
        names.CONSUMER_LOG_LEVEL: template.log_level,
        names.CONSUMER_LOG_FORMAT: "json",
    }


def _secrets(security: Security, template: Template) -> Iterator[Secret]:
    if security.protocol.startswith("SASL") and (found := security.credentials_secret_ref):
        yield Secret(names.KAFKA_SASL_USERNAME, KeyRef(found.name, found.username_key))
        yield Secret(names.KAFKA_SASL_PASSWORD, KeyRef(found.name, found.password_key))
    if own := template.elasticsearch.credentials_secret_ref:
        yield Secret(names.ELASTICSEARCH_USERNAME, KeyRef(own.name, "username"), optional=True)
        yield Secret(names.ELASTICSEARCH_PASSWORD, KeyRef(own.name, "password"), optional=True)
        yield Secret(names.ELASTICSEARCH_API_KEY, KeyRef(own.name, "api-key"), optional=True)
    sinks: tuple[tuple[str, Elasticsearch | Redis | Database], ...] = (
        (names.ELASTICSEARCH_URL, template.elasticsearch),
        (names.REDIS_URL, template.redis),
        (names.DATABASE_URL, template.audit.database),
    )
    for variable, sink in sinks:
        if sink.url_secret_ref:
            yield Secret(variable, sink.url_secret_ref)


def _files(spec: Spec, template: Template) -> Iterator[Mounted]:
    security = spec.kafka.security
    authorities: tuple[tuple[str, FileRef | None, str], ...] = (
        (names.KAFKA_SSL_CA_FILE, security.ca_secret_ref, "kafka-ca"),
        (names.ELASTICSEARCH_CA_FILE, template.elasticsearch.ca_secret_ref, "elasticsearch-ca"),
        (names.REDIS_CA_FILE, template.redis.ca_secret_ref, "redis-ca"),
        (names.DATABASE_CA_FILE, template.audit.database.ca_secret_ref, "database-ca"),
    )
    for variable, ref, folder in authorities:
        if ref:
            yield Mounted(variable, ref.name, ref.key, folder)
    if own := security.client_certificate_secret_ref:
        yield Mounted(names.KAFKA_SSL_CERT_FILE, own.name, "tls.crt", "kafka-client")
        yield Mounted(names.KAFKA_SSL_KEY_FILE, own.name, "tls.key", "kafka-client")


def _word(flag: bool) -> str:
    return "true" if flag else "false"
