"""What the reconciler asks of the outside, so that tests can answer."""

from __future__ import annotations

from typing import Protocol

from activity_indexer_operator.api import ActivityIndexer, Kafka, Key, Status
from activity_indexer_operator.decide import Number


class ClusterError(Exception):
    """The API server refused or did not answer; the message says what was asked. It is tried again."""


class Cluster(Protocol):
    """The Kubernetes API. Every call may raise ClusterError."""

    async def read(self, key: Key) -> ActivityIndexer | None:
        """The object as it is now; None when it is gone."""
        ...

    async def replicas(self, namespace: str, deployment: str) -> Number:
        """Replicas a Deployment is to have; Unknown when it does not exist."""
        ...

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Sets them, by the scale subresource."""
        ...

    async def save_status(self, key: Key, status: Status) -> None:
        """Replaces the object's status."""
        ...


class Topics(Protocol):
    """The Kafka cluster. No call raises: what cannot be read is Unknown."""

    async def partitions(self, kafka: Kafka) -> Number:
        """How many partitions the topic has."""
        ...

    async def lag(self, kafka: Kafka, partitions: int) -> Number:
        """Events of the topic that the group has not committed yet, over all partitions."""
        ...
