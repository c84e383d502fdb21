"""Applies the objects of an indexer: server-side apply, pruning, and the scale subresource."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog

from activity_indexer_operator.indexer.model import Memory
from activity_indexer_operator.indexer.objects.manifests import Manifest, workload_resource
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import MANAGER, Body, Meta, without_managed_fields
from activity_indexer_operator.kube.ports import Cluster, ClusterError
from activity_indexer_operator.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    WORKLOADS,
    Resource,
)

log = structlog.get_logger(__name__)

SCALER: Final = f"{MANAGER}-scale"
"""Field manager of the replicas: applying the rest must not release them."""
OWNED: Final = (SERVICE_ACCOUNTS, CONFIG_MAPS, SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS)
_VOLATILE: Final = "deployment.kubernetes.io/"


class Applier:
    """All writes for ActivityIndexers except the status."""

    def __init__(self, cluster: Cluster, cache: ObjectCache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def apply(self, memory: Memory, wanted: Iterable[Manifest], replicas: int) -> None:
        """Creates and corrects what differs from what is wanted; a new workload starts with `replicas`."""
        for manifest in wanted:
            digest, is_workload = _digest(manifest.body), manifest.resource.kind in WORKLOADS
            place = manifest.resource, *manifest.place
            # Applying one of the others that is right already does no harm: the cache is enough.
            live = await self._cache.read(self._cluster, *place) if is_workload else self._cache.get(*place)
            if live is not None and memory.applied.get(manifest.resource.kind) == (digest, _fingerprint(live)):
                continue
            if live is None and is_workload:
                made = await self._create(manifest, replicas)
            else:
                made = await self._cluster.apply(manifest.resource, manifest.body)
            self._cache.put(manifest.resource, without_managed_fields(made))
            memory.applied[manifest.resource.kind] = digest, _fingerprint(made)
            if live is None or _fingerprint(live) != _fingerprint(made):
                log.info("object.applied", kind=manifest.resource.kind, object="/".join(manifest.place))

    async def prune(self, meta: Meta, spec: Spec, wanted: Iterable[Manifest]) -> None:
        """Deletes what an earlier spec needed and this one does not. Never what targetRef names."""
        kept = {manifest.resource for manifest in wanted}
        target = spec.workload.target_ref
        for resource in OWNED:
            for body in self._cache.controlled(resource, meta.key.namespace, meta.uid):
                name, uid = body["metadata"]["name"], body["metadata"]["uid"]
                targeted = target is not None and resource == workload_resource(spec) and name == target.name
                if (resource in kept and name == meta.key.name) or targeted or "deletionTimestamp" in body["metadata"]:
                    continue
                await self._cluster.delete(resource, meta.key.namespace, name, uid)
                log.info("object.deleted", kind=resource.kind, object=f"{meta.key.namespace}/{name}")

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Sets the replicas. Raises ClusterError, also when the workload is gone."""
        if not await self._cluster.scale(resource, namespace, name, replicas):
            raise ClusterError(f"cannot scale {resource.kind} {namespace}/{name}: it does not exist")

    async def _create(self, manifest: Manifest, replicas: int) -> Body:
        """With the right replicas from the start, owned by SCALER from then on: each change costs a rebalance."""
        body = manifest.body
        spec = body["spec"] | {"replicas": replicas}
        await self._cluster.apply(manifest.resource, body | {"spec": spec})
        marks = {name: body[name] for name in ("apiVersion", "kind")}
        place = {name: body["metadata"][name] for name in ("name", "namespace")}
        claim = marks | {"metadata": place, "spec": {"replicas": replicas}}
        await self._cluster.apply(manifest.resource, claim, SCALER)
        return await self._cluster.apply(manifest.resource, body)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(body, order="sorted"), digest_size=16).hexdigest()


def _fingerprint(body: Body) -> str:
    """Changes with everything that we may have set, and not with the status."""
    meta = body["metadata"]
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if not k.startswith(_VOLATILE)}
    state = meta.get("generation") or meta.get("resourceVersion")
    return _digest({"of": [meta.get("uid"), state, meta.get("labels"), annotations, meta.get("ownerReferences")]})
