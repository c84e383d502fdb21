"""The servers that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activity_stack.elasticsearch import Elasticsearch, SecureElasticsearch
from activity_stack.kafka import Kafka
from activity_stack.postgres import Postgres
from activity_stack.redis import Redis

if TYPE_CHECKING:
    from activity_stack.server import Instance, Server

DEFAULT_NAMES = (Kafka.name, Elasticsearch.name, Redis.name, Postgres.name)


def build_servers(instance: Instance) -> dict[str, Server]:
    """Every server of an instance, by name."""
    kinds: tuple[type[Server], ...] = (Kafka, Elasticsearch, Redis, Postgres, SecureElasticsearch)
    return {kind.name: kind(instance) for kind in kinds}
