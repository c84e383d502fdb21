"""Our chart on the tests' cluster: the values that users would write, and `helm` in a story's namespace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from e2e.commands import run
from e2e.kind import Cluster
from e2e.story import ELASTICSEARCH, KAFKA, REDIS, Story

CHART = "charts/activity-indexer"
INDEXER, INDEXERS = "deployment/activity-indexer", "app.kubernetes.io/component=indexer"
OPERATOR, OPERATORS = "deployment/activity-indexer-operator", "app.kubernetes.io/name=activity-indexer-operator"
OURS = "activityindexer/activity-indexer"
CRD_NAMES = ("activityindexers.activityindexer.io", "deadletterreplays.activityindexer.io")
CRDS = ("crd", "-l", "app.kubernetes.io/part-of=activity-indexer")
PARTITIONS = 3
NOT_OF_THE_RELEASE = {"serviceaccount/default", "configmap/kube-root-ca.crt", "secret/database"}
LISTED = (
    "deployments,replicasets,pods,jobs,services,configmaps,secrets,serviceaccounts,roles,rolebindings,"
    "poddisruptionbudgets,networkpolicies,leases"
)


@dataclass(frozen=True)
class Helm:
    """`helm` in a namespace of a cluster."""

    cluster: Cluster

    def __call__(self, *arguments: str, timeout: float = 700) -> str:
        """What it says."""
        place = ("--kubeconfig", str(self.cluster.kubeconfig), "--namespace", self.cluster.namespace)
        return run("helm", *place, *arguments, timeout=timeout).stdout


def values(story: Story, tag: str = "dev") -> dict[str, Any]:
    """What users would write: their servers, their names, and the images' tag."""
    image = {"tag": tag}
    return {
        "image": image,
        "config": {
            "KAFKA_BOOTSTRAP_SERVERS": KAFKA,
            "KAFKA_TRANSACTIONS_TOPIC": story.name,
            "KAFKA_CONSUMER_GROUP": story.name,
            "KAFKA_TOPIC_PARTITIONS": PARTITIONS,
            "ELASTICSEARCH_URL": ELASTICSEARCH,
            "ELASTICSEARCH_INDEX": story.name,
            "REDIS_URL": REDIS,
            "CONSUMER_BATCH_TIMEOUT": 0.5,
        },
        "secrets": {"DATABASE_URL": {"name": "database", "key": "url"}},
        "activityIndexer": {"scaling": {"minReplicas": 1, "maxReplicas": 6}},
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "operator": {"image": image, "indexerImage": image},
    }


def write(values: dict[str, Any], folder: Path) -> str:
    """A file with values; where it is."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return str(file)


def without_crds(cluster: Cluster) -> None:
    """Removes the CRDs by name: those of k8s/crd, which another story may have left, lack the chart's labels."""
    cluster.kubectl("delete", "crd", *CRD_NAMES, "--ignore-not-found", "--timeout=120s")


def settled(story: Story) -> int:
    """Events that all pods together have settled, those of pods that are gone included."""
    lines = story.logs.lines("^activity-indexer-")
    return sum(int(line.entry["events"]) for line in lines if line.entry.get("event") == "batch.settled")


def records(story: Story) -> int:
    """Records in the topic."""
    topics = story.status()["kafka"]["found"]["topics"]
    return next(int(each["records"]) for each in topics if each["role"] == "transactions")


def leftovers(story: Story) -> list[str]:
    """Objects of the namespace that a release could have left."""
    listed = story.cluster.kubectl("get", LISTED, "-o", "name").stdout.split()
    return sorted(set(listed) - NOT_OF_THE_RELEASE)
