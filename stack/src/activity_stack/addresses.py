"""Where clients find the servers of an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from activity_stack import elasticsearch, kafka, postgres, redis
from activity_stack.ports import HOST

if TYPE_CHECKING:
    from activity_stack.server import Instance


@dataclass(frozen=True)
class Addresses:
    """Addresses of one instance, in the form that its clients take."""

    instance: Instance

    @property
    def kafka(self) -> str:
        """Bootstrap server, plain text."""
        return f"{HOST}:{self.instance.settings.ports.kafka}"

    @property
    def kafka_ssl(self) -> str:
        """Bootstrap server, TLS."""
        return f"{HOST}:{self.instance.settings.ports.kafka_ssl}"

    @property
    def kafka_sasl_ssl(self) -> str:
        """Bootstrap server, TLS and a password (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512)."""
        return f"{HOST}:{self.instance.settings.ports.kafka_sasl_ssl}"

    @property
    def elasticsearch(self) -> str:
        """URL, without security."""
        return f"http://{HOST}:{self.instance.settings.ports.elasticsearch}"

    @property
    def elasticsearch_secure(self) -> str:
        """URL of the optional second node, with HTTPS and users."""
        return f"https://{HOST}:{self.instance.settings.ports.elasticsearch_secure}"

    @property
    def elasticsearch_8(self) -> str:
        """URL of the optional node of the major version before, without security."""
        return f"http://{HOST}:{self.instance.settings.ports.elasticsearch_8}"

    @property
    def redis(self) -> str:
        """URL, plain text and no password."""
        return redis.Redis(self.instance).address()

    @property
    def redis_tls(self) -> str:
        """URL, TLS and no password."""
        return redis.Redis(self.instance).tls_address()

    @property
    def postgres(self) -> str:
        """DSN of the service's database."""
        return postgres.Postgres(self.instance).address()

    @property
    def postgres_tls(self) -> str:
        """DSN of the service's database, TLS, checked against the stack's authority."""
        return postgres.Postgres(self.instance).tls_address()

    @property
    def authority(self) -> str:
        """File of the certificate that all servers' certificates are issued by."""
        return str(self.instance.certificates().authority)

    def environment(self) -> dict[str, str]:
        """Variables: first those that the service reads, then those that tests read."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "ELASTICSEARCH_URL": self.elasticsearch,
            "REDIS_URL": self.redis,
            "DATABASE_URL": self.postgres,
            "ACTIVITY_STACK_CA_FILE": self.authority,
            "ACTIVITY_STACK_KAFKA_SSL": self.kafka_ssl,
            "ACTIVITY_STACK_KAFKA_SASL_SSL": self.kafka_sasl_ssl,
            "ACTIVITY_STACK_KAFKA_USERNAME": kafka.USER,
            "ACTIVITY_STACK_KAFKA_PASSWORD": kafka.PASSWORD,
            "ACTIVITY_STACK_ELASTICSEARCH_SECURE_URL": self.elasticsearch_secure,
            "ACTIVITY_STACK_ELASTICSEARCH_USERNAME": elasticsearch.USER,
            "ACTIVITY_STACK_ELASTICSEARCH_PASSWORD": elasticsearch.PASSWORD,
            "ACTIVITY_STACK_ELASTICSEARCH_8_URL": self.elasticsearch_8,
            "ACTIVITY_STACK_REDIS_TLS_URL": self.redis_tls,
            "ACTIVITY_STACK_DATABASE_TLS_URL": self.postgres_tls,
            "ACTIVITY_STACK_REDIS_USERNAME": redis.USER,
            "ACTIVITY_STACK_REDIS_PASSWORD": redis.PASSWORD,
        }
