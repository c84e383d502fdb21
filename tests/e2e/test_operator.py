"""The operator in k8s/operator on the same cluster: replicas follow the partitions, and stay where those are not known.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from e2e.commands import CommandFailedError, eventually
from e2e.kind import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

RESOURCE = "activityindexer/transactions"
KAFKA_TOPICS = ("/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "localhost:9092")


@pytest.fixture(scope="module")
def operated(deployed: Cluster) -> Cluster:
    """The cluster with the operator watching the indexer, at most 4 replicas of it."""
    applied = deployed.kubectl("apply", "-k", "k8s/operator")
    assert "Warning" not in applied.stderr, "the operator's pod would not pass the restricted Pod Security Standard"
    deployed.rolled_out("deployment/activity-indexer-operator")
    deployed.kubectl("apply", "-f", "k8s/operator/example.yaml")
    return deployed


def ready_reason(cluster: Cluster) -> str | None:
    conditions = cluster.get(RESOURCE).get("status", {}).get("conditions", ())
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), None)


def replicas(cluster: Cluster) -> int:
    return int(cluster.get("deployment/activity-indexer")["spec"]["replicas"])


def spec_patch(cluster: Cluster, scaling: dict[str, Any]) -> None:
    cluster.kubectl("patch", RESOURCE, "--type=merge", "-p", json.dumps({"spec": {"scaling": scaling}}))


def test_replicas_rise_to_the_maximum_below_the_partition_count(operated: Cluster) -> None:
    eventually(lambda: replicas(operated) == 4, "four replicas for six partitions and a maximum of four")
    eventually(lambda: ready_reason(operated) == "Following", "the resource is ready")
    status = operated.get(RESOURCE)["status"]
    assert (status["partitions"], status["desiredReplicas"], status["observedGeneration"]) == (6, 4, 1)
    assert {c["type"]: c["reason"] for c in status["conditions"]}["ScalingLimited"] == "AtMaximum"


def test_a_new_spec_is_acted_upon(operated: Cluster) -> None:
    spec_patch(operated, {"max": 8, "partitionsPerReplica": 3})
    eventually(lambda: replicas(operated) == 2, "two replicas for six partitions, three each")


def test_added_partitions_bring_a_further_replica(operated: Cluster) -> None:
    operated.kubectl("exec", "kafka-0", "--", *KAFKA_TOPICS, "--alter", "--topic", "transactions", "--partitions", "8")
    eventually(lambda: replicas(operated) == 3, "three replicas for eight partitions, three each", timeout=180)


def test_replicas_that_others_changed_are_set_right(operated: Cluster) -> None:
    operated.kubectl("scale", "deployment/activity-indexer", "--replicas", "1")
    eventually(lambda: replicas(operated) == 3, "three replicas again", timeout=180)


def test_limits_that_contradict_each_other_are_refused(operated: Cluster) -> None:
    with pytest.raises(CommandFailedError, match="min must not exceed max"):
        spec_patch(operated, {"min": 9})


def test_replicas_stay_while_kafka_is_away(operated: Cluster) -> None:
    operated.kubectl("scale", "statefulset/kafka", "--replicas", "0")
    try:
        eventually(
            lambda: ready_reason(operated) == "KafkaUnreachable", "the resource says that Kafka is away", timeout=180
        )
        status = operated.get(RESOURCE)["status"]
        assert "partitions" not in status
        assert replicas(operated) == 3
    finally:
        operated.kubectl("scale", "statefulset/kafka", "--replicas", "1")
    eventually(lambda: ready_reason(operated) == "Following", "the resource is ready again", timeout=240)


def test_the_operators_log_is_json_without_errors_but_requests_that_are_tried_again(operated: Cluster) -> None:
    lines = operated.kubectl("logs", "deployment/activity-indexer-operator").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    assert {"workload.scaled", "condition.changed"} <= {entry["event"] for entry in entries}
    errors = [entry for entry in entries if entry["level"] in {"error", "critical"}]
    # A CRD that is a second old answers with 429; kopf calls that an error before it tries again.
    assert [entry for entry in errors if "will retry" not in entry["event"]] == []


def test_the_resource_is_deleted_at_once_with_the_operator_gone(operated: Cluster) -> None:
    operated.kubectl("delete", "deployment/activity-indexer-operator")
    operated.kubectl("delete", RESOURCE, "--timeout", "30s")
    assert replicas(operated) == 3
