"""The API server and Kafka, as before, with a span for each call that is part of a recorded pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from activity_indexer_operator.kafka.connection import KafkaConnection
from activity_indexer_operator.kafka.observation import Unknown
from activity_indexer_operator.kafka.reader import KafkaReader
from activity_indexer_operator.kafka.spec import Kafka
from activity_indexer_operator.kube.objects import MANAGER, Body
from activity_indexer_operator.kube.ports import Cluster
from activity_indexer_operator.kube.resources import Resource
from activity_indexer_operator.tracing.protocol import Attributes, Call, Tracing, Untraced, note

Answer = TypeVar("Answer")


def traced_cluster(cluster: Cluster, tracing: Tracing, server: str) -> Cluster:
    """The cluster behind `server`, traced where anything is."""
    return cluster if isinstance(tracing, Untraced) else TracedCluster(cluster, tracing, server)


def traced_kafka(cluster: Cluster, tracing: Tracing, timeout: float) -> KafkaReader:
    """A reader, traced where anything is."""
    return KafkaReader(cluster, timeout) if isinstance(tracing, Untraced) else TracedKafka(cluster, timeout, tracing)


class TracedCluster:
    """ports.Cluster. A write marks the pass as one that did something; a status does not, as Events report it."""

    def __init__(self, cluster: Cluster, tracing: Tracing, server: str) -> None:
        self._cluster = cluster
        self._tracing = tracing
        self._server = server.rstrip("/")

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """See ports.Cluster."""
        with self._call("GET", resource, namespace, name):
            return await self._cluster.get(resource, namespace, name)

    async def list(self, resource: Resource, namespace: str, labels: str = "") -> list[Body]:
        """See ports.Cluster."""
        with self._call("GET", resource, namespace):
            return await self._cluster.list(resource, namespace, labels)

    async def create(self, resource: Resource, body: Body) -> Body:
        """See ports.Cluster."""
        note()
        with self._call("POST", resource, body["metadata"]["namespace"]):
            return await self._cluster.create(resource, body)

    async def apply(self, resource: Resource, body: Body, manager: str = MANAGER, *, dry_run: bool = False) -> Body:
        """See ports.Cluster."""
        if not dry_run:
            note()
        meta = body["metadata"]
        with self._call("PATCH", resource, meta["namespace"], meta["name"]):
            return await self._cluster.apply(resource, body, manager, dry_run=dry_run)

    async def replace(self, resource: Resource, body: Body) -> Body:
        """See ports.Cluster."""
        note()
        meta = body["metadata"]
        with self._call("PUT", resource, meta["namespace"], meta["name"]):
            return await self._cluster.replace(resource, body)

    async def apply_status(
        self, resource: Resource, namespace: str, name: str, status: dict[str, Any], manager: str
    ) -> Body | None:
        """See ports.Cluster."""
        with self._call("PATCH", resource, namespace, name, "status"):
            return await self._cluster.apply_status(resource, namespace, name, status, manager)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> bool:
        """See ports.Cluster."""
        note()
        with self._call("PATCH", resource, namespace, name, "scale"):
            return await self._cluster.scale(resource, namespace, name, replicas)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """See ports.Cluster."""
        note()
        with self._call("DELETE", resource, namespace, name):
            await self._cluster.delete(resource, namespace, name, uid)

    def _call(
        self, method: str, resource: Resource, namespace: str, name: str = "", subresource: str = ""
    ) -> AbstractContextManager[Call]:
        path = resource.path(namespace, name, subresource)
        template = resource.path(namespace and "{namespace}", name and "{name}", subresource)
        attributes = {
            "http.request.method": method,
            "url.full": self._server + path,
            "url.template": template,
            "k8s.namespace.name": namespace,
            **_address(self._server, 443),
        }
        return self._tracing.call(f"{method} {template}", attributes)


class TracedKafka(KafkaReader):
    """A reader whose questions are spans. Unknown is an answer here, and an error of the span."""

    def __init__(self, cluster: Cluster, timeout: float, tracing: Tracing) -> None:
        super().__init__(cluster, timeout)
        self._tracing = tracing

    async def ask(
        self, namespace: str, kafka: Kafka, question: Callable[[KafkaConnection], Awaitable[Answer]]
    ) -> Answer | Unknown:
        """See KafkaReader."""
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": kafka.topic,
            "messaging.consumer.group.name": kafka.consumer_group,
            "k8s.namespace.name": namespace,
            **_address(f"//{kafka.bootstrap_servers[0]}", 9092),
        }
        with self._tracing.call(f"ask {kafka.topic}", attributes) as call:
            answer = await super().ask(namespace, kafka, question)
            if isinstance(answer, Unknown):
                call.failed(answer.reason, answer.message)
            return answer


def _address(url: str, port: int) -> dict[str, str | int]:
    parts = urlsplit(url)
    try:
        return {"server.address": parts.hostname or "", "server.port": parts.port or port}
    except ValueError:  # no address: the call itself will fail
        return {"server.address": url.rpartition("/")[2]}
