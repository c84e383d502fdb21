"""What the operator counts on when it talks to an API server, the one of its unit tests and a real one alike."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from activity_indexer_operator.kube.objects import Body
from activity_indexer_operator.kube.ports import Cluster, ConflictError
from activity_indexer_operator.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INDEXERS, LEASES, Resource

KAFKA = {"bootstrapServers": ["kafka:9093"], "topic": "transactions", "consumerGroup": "indexer"}
SPEC = {"source": {"kafka": KAFKA}, "workload": {"template": {"elasticsearch": {"url": "http://elasticsearch:9200"}}}}
POD = {"containers": [{"name": "pause", "image": "pause:1"}]}
LABELS = {"app": "contract"}
DEPLOYMENT = {
    "replicas": 1,
    "paused": True,  # no pod is wanted
    "selector": {"matchLabels": LABELS},
    "template": {"metadata": {"labels": LABELS}, "spec": POD},
}


def body_of(resource: Resource, namespace: str, labels: dict[str, str] | None = None, **content: Any) -> dict[str, Any]:
    """An object under a name of its own."""
    meta = {"name": f"it-{uuid.uuid4().hex[:8]}", "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, **content}


def name_of(body: Body) -> str:
    return str(body["metadata"]["name"])


def condition(kind: str, status: str = "True") -> dict[str, Any]:
    """A condition as the CRD wants it."""
    reported = {"reason": "Because", "message": "It is so.", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"type": kind, "status": status, "observedGeneration": 1, **reported}


class ClusterContract:
    """Subclasses have the fixtures `api` and `namespace`."""

    async def test_what_is_not_there_is_an_answer(self, api: Cluster, namespace: str) -> None:
        assert await api.get(CONFIG_MAPS, namespace, "none") is None
        assert await api.scale(DEPLOYMENTS, namespace, "none", 1) is False
        assert await api.apply_status(INDEXERS, namespace, "none", {"replicas": 1}, "me") is None
        await api.delete(CONFIG_MAPS, namespace, "none", "00000000-0000-0000-0000-000000000000")

    async def test_an_object_is_created_once(self, api: Cluster, namespace: str) -> None:
        body = body_of(CONFIG_MAPS, namespace, data={"a": "1"})
        made = await api.create(CONFIG_MAPS, body)
        with pytest.raises(ConflictError):
            await api.create(CONFIG_MAPS, body)
        there = await api.get(CONFIG_MAPS, namespace, name_of(body))
        assert there is not None
        assert (there["kind"], there["data"]) == ("ConfigMap", {"a": "1"})
        assert there["metadata"]["uid"] == made["metadata"]["uid"]

    async def test_an_object_is_applied_whether_it_is_there_or_not(self, api: Cluster, namespace: str) -> None:
        body = body_of(CONFIG_MAPS, namespace, data={"a": "1"})
        made = await api.apply(CONFIG_MAPS, body)
        changed = await api.apply(CONFIG_MAPS, body | {"data": {"a": "2"}})
        assert changed["data"] == {"a": "2"}
        assert changed["metadata"]["uid"] == made["metadata"]["uid"]
        assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]

    async def test_what_is_applied_again_unchanged_stays_what_it_was(self, api: Cluster, namespace: str) -> None:
        body = body_of(CONFIG_MAPS, namespace, data={"a": "1"})
        made = await api.apply(CONFIG_MAPS, body)
        again = await api.apply(CONFIG_MAPS, body)
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    async def test_a_rehearsal_says_what_would_be_and_leaves_nothing(self, api: Cluster, namespace: str) -> None:
        body = body_of(DEPLOYMENTS, namespace, spec=DEPLOYMENT)
        would_be = await api.apply(DEPLOYMENTS, body, dry_run=True)
        assert would_be["spec"]["replicas"] == 1
        assert await api.get(DEPLOYMENTS, namespace, name_of(body)) is None

    async def test_only_the_version_that_was_seen_is_replaced(self, api: Cluster, namespace: str) -> None:
        seen = await api.create(LEASES, body_of(LEASES, namespace, spec={"holderIdentity": "first"}))
        mine = dict(seen) | {"spec": {"holderIdentity": "second"}}
        replaced = await api.replace(LEASES, mine)
        assert replaced["spec"]["holderIdentity"] == "second"
        with pytest.raises(ConflictError):
            await api.replace(LEASES, dict(seen) | {"spec": {"holderIdentity": "third"}})

    async def test_what_is_gone_is_not_replaced(self, api: Cluster, namespace: str) -> None:
        seen = await api.create(LEASES, body_of(LEASES, namespace, spec={"holderIdentity": "first"}))
        await api.delete(LEASES, namespace, name_of(seen), seen["metadata"]["uid"])
        with pytest.raises(ConflictError):
            await api.replace(LEASES, seen)

    async def test_objects_are_listed_by_all_their_labels(self, api: Cluster, namespace: str) -> None:
        mark = uuid.uuid4().hex[:8]
        both = await api.create(CONFIG_MAPS, body_of(CONFIG_MAPS, namespace, {"mark": mark, "part": "x"}))
        await api.create(CONFIG_MAPS, body_of(CONFIG_MAPS, namespace, {"mark": mark}))
        found = await api.list(CONFIG_MAPS, namespace, f"mark={mark},part=x")
        assert [name_of(body) for body in found] == [name_of(both)]
        assert (found[0]["apiVersion"], found[0]["kind"]) == ("v1", "ConfigMap")

    async def test_objects_of_all_namespaces_are_listed(self, api: Cluster, namespace: str) -> None:
        mark = uuid.uuid4().hex[:8]
        made = await api.create(CONFIG_MAPS, body_of(CONFIG_MAPS, namespace, {"mark": mark}))
        [found] = await api.list(CONFIG_MAPS, "", f"mark={mark}")
        assert found["metadata"]["uid"] == made["metadata"]["uid"]

    async def test_a_workload_is_scaled_and_nothing_else_of_it(self, api: Cluster, namespace: str) -> None:
        before = await api.apply(DEPLOYMENTS, body_of(DEPLOYMENTS, namespace, spec=DEPLOYMENT))
        assert await api.scale(DEPLOYMENTS, namespace, name_of(before), 3) is True
        after = await api.get(DEPLOYMENTS, namespace, name_of(before))
        assert after is not None
        assert after["spec"] == dict(before["spec"]) | {"replicas": 3}

    async def test_another_object_of_the_name_is_not_deleted(self, api: Cluster, namespace: str) -> None:
        made = await api.create(CONFIG_MAPS, body_of(CONFIG_MAPS, namespace))
        with pytest.raises(ConflictError):
            await api.delete(CONFIG_MAPS, namespace, name_of(made), "00000000-0000-0000-0000-000000000000")
        assert await api.get(CONFIG_MAPS, namespace, name_of(made)) is not None
        await api.delete(CONFIG_MAPS, namespace, name_of(made), made["metadata"]["uid"])
        assert await api.get(CONFIG_MAPS, namespace, name_of(made)) is None

    async def test_each_manager_says_its_own_part_of_a_status(self, api: Cluster, namespace: str) -> None:
        body = await api.create(INDEXERS, body_of(INDEXERS, namespace, spec=SPEC))
        place = (INDEXERS, namespace, name_of(body))
        await api.apply_status(*place, {"replicas": 3, "conditions": [condition("Ready")]}, "first")
        both = await api.apply_status(*place, {"conditions": [condition("Progressing")]}, "second")
        assert both is not None
        assert both["status"]["replicas"] == 3
        assert {each["type"] for each in both["status"]["conditions"]} == {"Ready", "Progressing"}
        less = await api.apply_status(*place, {"conditions": [condition("Ready", "False")]}, "first")
        assert less is not None
        assert "replicas" not in less["status"]
        assert {each["type"]: each["status"] for each in less["status"]["conditions"]} == {
            "Ready": "False",
            "Progressing": "True",
        }
