"""The servers that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activity_stack.elasticsearch import Elasticsearch, Elasticsearch8, SecureElasticsearch
from activity_stack.fronts import PostgresTls, RedisTls
from activity_stack.kafka import Kafka
from activity_stack.postgres import Postgres
from activity_stack.redis import Redis

if TYPE_CHECKING:
    from activity_stack.server import Instance, Server

DEFAULT_NAMES = (Kafka.name, Elasticsearch.name, Redis.name, Postgres.name)
COMPANIONS = {Redis.name: RedisTls.name, Postgres.name: PostgresTls.name}
"""What is started with a server, where it is there at all."""


def build_servers(instance: Instance) -> dict[str, Server]:
    """Every server of an instance, by name; TLS fronts only for servers that need one."""
    redis, postgres = Redis(instance), Postgres(instance)
    servers: list[Server] = [Kafka(instance), Elasticsearch(instance), redis, postgres]
    servers += [] if redis.has_tls() else [RedisTls(instance)]
    servers += [] if postgres.has_tls() else [PostgresTls(instance)]
    return {server.name: server for server in [*servers, SecureElasticsearch(instance), Elasticsearch8(instance)]}
