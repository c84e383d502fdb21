"""What reconcilers need of the outside, as protocols that tests can implement."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from activity_indexer_operator.kube.objects import MANAGER, Body, Meta
from activity_indexer_operator.kube.resources import Resource


class ClusterError(Exception):
    """The API server refused or did not answer; the message names the request. It is tried again."""


class ConflictError(ClusterError):
    """The object is there already, or is another one than the caller saw."""


class RejectedError(ClusterError):
    """The API server finds the object wrong, or forbids it: it is refused until something is changed."""


class Cluster(Protocol):
    """The Kubernetes API. Every call may raise ClusterError; namespace "" stands for all of them."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """One object; None when there is none."""
        ...

    async def list(self, resource: Resource, namespace: str, labels: str = "") -> list[Body]:
        """Objects whose labels match a selector such as "a=b,c"; each has its `kind`."""
        ...

    async def create(self, resource: Resource, body: Body) -> Body:
        """Creates an object. Raises ConflictError when it exists, RejectedError when it cannot."""
        ...

    async def apply(self, resource: Resource, body: Body, manager: str = MANAGER, *, dry_run: bool = False) -> Body:
        """Server-side apply, other managers' claims overruled. Raises RejectedError when the object is refused."""
        ...

    async def replace(self, resource: Resource, body: Body) -> Body:
        """Replaces an object whose resourceVersion is still the body's. Raises ConflictError when it is not."""
        ...

    async def apply_status(
        self, resource: Resource, namespace: str, name: str, status: dict[str, Any], manager: str
    ) -> Body | None:
        """Server-side apply of this manager's part of the status; None when there is no such object.

        Fields that it applied before and not now are removed, those of others stay.
        """
        ...

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> bool:
        """Sets a workload's replicas by its scale subresource; False when there is no such workload."""
        ...

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Deletes the object with this uid, dependents in the background; a missing object is no error.

        Raises ConflictError when an object of another uid has taken the name.
        """
        ...


class Recorder(Protocol):
    """Records Events."""

    async def event(self, meta: Meta, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """An Event about the object; called on transitions only. It never raises: nothing depends on Events."""
        ...
