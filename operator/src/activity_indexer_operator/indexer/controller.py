"""The controller of ActivityIndexers."""

from __future__ import annotations

from collections.abc import Iterable

from activity_indexer_operator.indexer.apply import OWNED
from activity_indexer_operator.indexer.observe import FullReplays
from activity_indexer_operator.indexer.reconciler import IndexerReconciler
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Body, Key, controller_of, without_managed_fields
from activity_indexer_operator.kube.resources import INDEXERS, WORKLOADS
from activity_indexer_operator.runtime.controller import Controller, ControllerContext
from activity_indexer_operator.runtime.watches import Watch, own_key, owners_key


def indexer_controller(context: ControllerContext, full_replays: FullReplays) -> Controller:
    """ActivityIndexers, what they own, and workloads that they name."""
    owned = [resource for resource in OWNED if resource.kind not in WORKLOADS]
    watches = (
        Watch(INDEXERS, own_key, without_managed_fields),
        *(Watch(resource, owners_key, without_managed_fields) for resource in owned),
        *(Watch(resource, workload_keys, _workload_parts, ours=False) for resource in WORKLOADS.values()),
    )
    return Controller(INDEXERS.kind, IndexerReconciler(context, full_replays).reconcile, watches)


def workload_keys(body: Body, cache: ObjectCache) -> Iterable[Key]:
    """The object that owns the workload, and those that name it as their target."""
    namespace = body["metadata"]["namespace"]
    owner = controller_of(body)
    if owner and owner[0] == INDEXERS.kind:
        yield Key(INDEXERS.kind, namespace, owner[1])
    for indexer in cache.all(INDEXERS, namespace):
        target = indexer.get("spec", {}).get("workload", {}).get("targetRef")
        if target and (target.get("kind"), target.get("name")) == (body["kind"], body["metadata"]["name"]):
            yield Key(INDEXERS.kind, namespace, indexer["metadata"]["name"])


def _workload_parts(body: Body) -> Body:
    """Without pod templates: a namespace may have many workloads that no ActivityIndexer names."""
    spec = {name: part for name, part in body.get("spec", {}).items() if name in {"replicas", "selector"}}
    return {**without_managed_fields(body), "spec": spec}
