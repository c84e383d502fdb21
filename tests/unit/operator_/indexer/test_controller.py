from __future__ import annotations

from typing import Any

from fixtures.memory.cluster import NAMESPACE
from fixtures.operator import SPEC, TARGETED, World

from activity_indexer_operator.indexer.controller import indexer_controller, workload_keys
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Key, meta_of, owner_reference
from activity_indexer_operator.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INDEXERS
from activity_indexer_operator.runtime.watches import owners_key

KEY = Key("ActivityIndexer", NAMESPACE, "orders")


def no_replays(_namespace: str, _indexer: str) -> tuple[str, ...]:
    return ()


def owned(world: World, **metadata: Any) -> dict[str, Any]:
    indexer = world.cluster.of(INDEXERS, "orders")
    assert indexer is not None
    return world.cluster.put(DEPLOYMENTS, "orders", {}, ownerReferences=[owner_reference(meta_of(indexer))], **metadata)


def test_a_change_of_what_an_indexer_owns_makes_it_due() -> None:
    body = owned(World(SPEC))
    assert list(owners_key(body, ObjectCache())) == [KEY]
    assert list(workload_keys(body, ObjectCache())) == [KEY]


def test_a_change_of_a_workload_makes_those_due_that_name_it() -> None:
    world = World(TARGETED)
    indexer = world.cluster.of(INDEXERS, "orders")
    assert indexer is not None
    world.cache.put(INDEXERS, indexer)
    assert list(workload_keys(world.cluster.put(DEPLOYMENTS, "by-hand", {}), world.cache)) == [KEY]
    assert list(workload_keys(world.cluster.put(DEPLOYMENTS, "another", {}), world.cache)) == []


def test_of_workloads_only_what_is_needed_is_kept() -> None:
    [watch] = [
        watch for watch in indexer_controller(World().context(), no_replays).watches if watch.resource == DEPLOYMENTS
    ]
    body = owned(World(SPEC), managedFields=["long"]) | {
        "spec": {"replicas": 2, "selector": {}, "template": {"long": 1}}
    }
    kept = watch.keep(body)
    assert kept["spec"] == {"replicas": 2, "selector": {}}
    assert "managedFields" not in kept["metadata"]


def test_the_cache_keeps_the_newest_of_an_object_and_takes_one_that_was_created_again() -> None:
    def body(version: str, uid: str = "a") -> dict[str, Any]:
        return {"metadata": {"namespace": NAMESPACE, "name": "x", "resourceVersion": version, "uid": uid}}

    seen = ObjectCache()
    for version, uid, newest in (("9", "a", "9"), ("8", "a", "9"), ("10", "a", "10"), ("7", "b", "7")):
        seen.put(CONFIG_MAPS, body(version, uid))
        kept = seen.get(CONFIG_MAPS, NAMESPACE, "x")
        assert kept is not None
        assert kept["metadata"]["resourceVersion"] == newest
    seen.drop(CONFIG_MAPS, NAMESPACE, "x")
    assert seen.get(CONFIG_MAPS, NAMESPACE, "x") is None
