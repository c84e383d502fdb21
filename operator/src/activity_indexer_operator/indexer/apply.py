"""Brings the objects of an indexer to what they are to be: server-side apply, and the scale subresource."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog

from activity_indexer_operator.indexer.manifests import Manifest, workload_resource
from activity_indexer_operator.indexer.memory import Memory
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import MANAGER, Body, Meta, controller_of, without_managed_fields
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
"""Field manager of the replicas: applying all the rest must not give them up."""
OWNED: Final = (SERVICE_ACCOUNTS, CONFIG_MAPS, SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS)
_VOLATILE: Final = "deployment.kubernetes.io/"


class Applier:
    """All writes that are made for ActivityIndexers, but the status."""

    def __init__(self, cluster: Cluster, cache: ObjectCache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def taken(self, meta: Meta, wanted: Iterable[Manifest]) -> str:
        """Which of the names is somebody else's; "" when none is. Raises ClusterError."""
        wanted = tuple(wanted)
        for manifest, live in zip(wanted, await asyncio.gather(*map(self._live, wanted)), strict=True):
            if live is not None and not _controls(meta, live):
                what = f"{manifest.resource.kind} {meta.key.namespace}/{meta.key.name}"
                return f"{what} exists and belongs to somebody else; delete it, or name the ActivityIndexer otherwise"
        return ""

    async def rehearse(self, wanted: Iterable[Manifest]) -> None:
        """Lets the API server check the objects, and changes nothing. Raises RejectedError, ClusterError."""
        await asyncio.gather(*(self._cluster.apply(each.resource, each.body, dry_run=True) for each in wanted))

    async def apply(self, memory: Memory, wanted: Iterable[Manifest], replicas: int) -> None:
        """Creates and repairs what is not as it is to be; a new workload begins with so many replicas."""
        for manifest in wanted:
            digest, is_workload = _digest(manifest.body), manifest.resource.kind in WORKLOADS
            live = await self._live(manifest) if is_workload else self._known(manifest)
            if live is not None and memory.applied.get(manifest.resource.kind) == (digest, _fingerprint(live)):
                continue
            if live is None and is_workload:
                made = await self._create(manifest, replicas)
            else:
                made = await self._cluster.apply(manifest.resource, manifest.body)
            self._cache.put(manifest.resource, without_managed_fields(made))
            memory.applied[manifest.resource.kind] = digest, _fingerprint(made)
            if live is None or _fingerprint(live) != _fingerprint(made):
                log.info("object.applied", **_told(manifest.resource, manifest.body))

    async def prune(self, meta: Meta, spec: Spec, wanted: Iterable[Manifest]) -> None:
        """Deletes what was made for an earlier spec and is not wanted any more. Never what targetRef names."""
        kept = {manifest.resource for manifest in wanted}
        target = spec.workload.target_ref
        for resource in OWNED:
            for body in self._cache.controlled(resource, meta.key.namespace, meta.uid):
                name, uid = body["metadata"]["name"], body["metadata"]["uid"]
                targeted = target is not None and resource == workload_resource(spec) and name == target.name
                if (resource in kept and name == meta.key.name) or targeted or "deletionTimestamp" in body["metadata"]:
                    continue
                await self._cluster.delete(resource, meta.key.namespace, name, uid)
                log.info("object.deleted", **_told(resource, body))

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Sets the replicas. Raises ClusterError, also when the workload is gone."""
        if not await self._cluster.scale(resource, namespace, name, replicas):
            raise ClusterError(f"cannot scale {resource.kind} {namespace}/{name}: it is gone")

    async def _create(self, manifest: Manifest, replicas: int) -> Body:
        """With the right number from the start, which then belongs to the scaler: each change costs a rebalance."""
        body = manifest.body
        spec = body["spec"] | {"replicas": replicas}
        await self._cluster.apply(manifest.resource, body | {"spec": spec})
        marks = {name: body[name] for name in ("apiVersion", "kind")}
        place = {name: body["metadata"][name] for name in ("name", "namespace")}
        claim = marks | {"metadata": place, "spec": {"replicas": replicas}}
        await self._cluster.apply(manifest.resource, claim, SCALER)
        return await self._cluster.apply(manifest.resource, body)

    async def _live(self, manifest: Manifest) -> Body | None:
        meta = manifest.body["metadata"]
        known = self._known(manifest)
        return known or await self._cluster.get(manifest.resource, meta["namespace"], meta["name"])

    def _known(self, manifest: Manifest) -> Body | None:
        """Enough where applying an object that is right already does no harm."""
        meta = manifest.body["metadata"]
        return self._cache.get(manifest.resource, meta["namespace"], meta["name"])


def _controls(meta: Meta, body: Body) -> bool:
    owner = controller_of(body)
    return owner is not None and owner[2] == meta.uid


def _digest(body: dict[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(body, order="sorted"), digest_size=16).hexdigest()


def _fingerprint(body: Body) -> str:
    """Changes whenever somebody changes what we may have set, and not with the status."""
    meta = body["metadata"]
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if not k.startswith(_VOLATILE)}
    state = meta.get("generation") or meta.get("resourceVersion")
    return _digest({"of": [meta.get("uid"), state, meta.get("labels"), annotations, meta.get("ownerReferences")]})


def _told(resource: Resource, body: Body) -> dict[str, str]:
    return {"kind": resource.kind, "object": f"{body['metadata']['namespace']}/{body['metadata']['name']}"}
