"""The story of those who `kubectl apply`: the operator of k8s/operator and the indexer of k8s/samples/minimal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from e2e.story import ELASTICSEARCH, KAFKA, REDIS, Story

OPERATOR = "deployment/activity-indexer-operator"
OPERATORS = "app.kubernetes.io/name=activity-indexer-operator"
RESOURCE, WORKLOAD = "activityindexer/transactions", "deployment/transactions"
INDEXERS = "app.kubernetes.io/instance=transactions,app.kubernetes.io/component=indexer"
PARTITIONS = 2
Env = tuple[Mapping[str, str], ...]
SMALL = {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}


def minimal(story: Story, env: Env = ()) -> dict[str, Any]:
    """What differs from the sample: servers in another namespace, and names of the story's own."""
    database = {"urlSecretRef": {"name": "database", "key": "url"}}
    kafka = {
        "bootstrapServers": [KAFKA],
        "topic": story.name,
        "consumerGroup": story.name,
        "topicPartitions": PARTITIONS,
    }
    template = {
        "elasticsearch": {"url": ELASTICSEARCH, "index": story.name},
        "redis": {"url": REDIS},
        "audit": {"database": database},
        "batch": {"timeoutSeconds": 0.5},
        "resources": SMALL,
        "extraEnv": list(env),
    }
    return {
        "apiVersion": "activityindexer.io/v1alpha1",
        "kind": "ActivityIndexer",
        "metadata": {"name": "transactions"},
        "spec": {"source": {"kafka": kafka}, "workload": {"template": template}},
    }


def operator_with(env: Env) -> dict[str, Any]:
    """What differs from k8s/operator: further variables."""
    pod = {"spec": {"containers": [{"name": "operator", "env": list(env)}]}}
    marks = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "activity-indexer-operator"}}
    return marks | {"spec": {"template": pod}}


def begin_sample(begin: Callable[[str], Story], namespace: str, folder: Path, env: Env = ()) -> Story:
    """A namespace with the operator, ready, and the minimal indexer, applied; both with these variables."""
    story = begin(namespace)
    story.kustomize(folder / "operator", "k8s/operator", patches=(operator_with(env),))
    story.cluster.rolled_out(OPERATOR)
    story.kustomize(folder / "minimal", "k8s/samples/minimal", patches=(minimal(story, env),))
    return story
