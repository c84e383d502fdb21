"""The objects that the watches have seen, so that a pass over an unchanged object needs no request."""

from __future__ import annotations

from collections.abc import Iterator

from activity_indexer_operator.kube.objects import Body, controller_of
from activity_indexer_operator.kube.ports import Cluster
from activity_indexer_operator.kube.resources import Resource


class ObjectCache:
    """Objects by kind, namespace and name. What is missing here may exist: `read` asks the API server."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Body]] = {}

    def put(self, resource: Resource, body: Body) -> None:
        """Keeps the object, unless a newer one is here; also for answers to writes, which come before their event."""
        kept = self._objects.setdefault(resource.plural, {})
        place = body["metadata"].get("namespace", ""), body["metadata"]["name"]
        if place not in kept or _version(body) >= _version(kept[place]) or _uid(body) != _uid(kept[place]):
            kept[place] = body

    def drop(self, resource: Resource, namespace: str, name: str) -> None:
        """Forgets the object."""
        self._objects.get(resource.plural, {}).pop((namespace, name), None)

    def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """The object as it was last seen."""
        return self._objects.get(resource.plural, {}).get((namespace, name))

    async def read(self, cluster: Cluster, resource: Resource, namespace: str, name: str) -> Body | None:
        """The object as it was last seen; where it was not, the API server is asked. Raises ClusterError."""
        return self.get(resource, namespace, name) or await cluster.get(resource, namespace, name)

    def all(self, resource: Resource, namespace: str) -> Iterator[Body]:
        """All that were seen in a namespace, by name."""
        for place, body in sorted(self._objects.get(resource.plural, {}).items(), key=lambda item: item[0]):
            if place[0] == namespace:
                yield body

    def everywhere(self, resource: Resource) -> list[Body]:
        """All that were seen, in whatever namespace."""
        return list(self._objects.get(resource.plural, {}).values())

    def count(self, resource: Resource) -> int:
        """How many were seen."""
        return len(self._objects.get(resource.plural, ()))

    def controlled(self, resource: Resource, namespace: str, uid: str) -> list[Body]:
        """Those which the object with this uid controls."""
        return [body for body in self.all(resource, namespace) if (owner := controller_of(body)) and owner[2] == uid]


def _version(body: Body) -> int:
    # Opaque by the book, and a growing integer in every API server there is (KEP-5504 makes it official).
    text = str(body["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdecimal() else 0


def _uid(body: Body) -> str:
    return str(body["metadata"].get("uid", ""))
