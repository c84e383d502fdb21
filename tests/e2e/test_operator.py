"""The operator in k8s/operator on the same cluster: it scales what is there, and runs indexers of its own.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.request import urlopen

import pytest
from e2e.api_audit import asked, forbidden
from e2e.commands import CommandFailedError, eventually, port_forward, run
from e2e.kind import Cluster
from e2e.rights import granted, with_creations

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

TARGETED, OWN = "activityindexer/transactions", "activityindexer/orders"
KAFKA_TOPICS = ("/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "localhost:9092")
SOURCE = {"kafka": {"bootstrapServers": ["kafka:9093"], "topic": "orders", "consumerGroup": "orders"}}
MINIMAL = {
    "apiVersion": "activityindexer.io/v1alpha1",
    "kind": "ActivityIndexer",
    "metadata": {"name": "orders"},
    "spec": {
        "source": SOURCE,
        "workload": {
            "template": {
                "image": "activity-indexer:dev",
                "elasticsearch": {"url": "http://elasticsearch:9200", "index": "orders"},
                "audit": {"enabled": False},
            }
        },
    },
}


@pytest.fixture(scope="module")
def operated(deployed: Cluster) -> Cluster:
    """The cluster with the operator watching the indexer, at most 4 replicas of it."""
    applied = deployed.kubectl("apply", "-k", "k8s/operator")
    assert "Warning" not in applied.stderr, "the operator's pod would not pass the restricted Pod Security Standard"
    deployed.rolled_out("deployment/activity-indexer-operator")
    deployed.kubectl("apply", "-f", "k8s/operator/example.yaml")
    return deployed


def reason(cluster: Cluster, resource: str, kind: str = "Ready") -> str | None:
    conditions = cluster.get(resource).get("status", {}).get("conditions", ())
    return next((c["reason"] for c in conditions if c["type"] == kind), None)


def replicas(cluster: Cluster, workload: str = "deployment/activity-indexer") -> int:
    return int(cluster.get(workload)["spec"]["replicas"])


def change(cluster: Cluster, resource: str, **spec: Any) -> None:
    cluster.kubectl("patch", resource, "--type=merge", "-p", json.dumps({"spec": spec}))


def apply(cluster: Cluster, body: dict[str, Any]) -> None:
    run(*cluster.command, "apply", "-f", "-", stdin=json.dumps(body))


def partitions(cluster: Cluster, verb: str, topic: str, count: int) -> None:
    cluster.kubectl("exec", "kafka-0", "--", *KAFKA_TOPICS, verb, "--topic", topic, "--partitions", str(count))


def test_replicas_rise_to_the_maximum_below_the_partition_count(operated: Cluster) -> None:
    eventually(lambda: replicas(operated) == 4, "four replicas for six partitions and a maximum of four")
    eventually(lambda: reason(operated, TARGETED) == "ReplicasAvailable", "the resource is ready")
    status = operated.get(TARGETED)["status"]
    assert (status["partitions"]["total"], status["desiredReplicas"], status["observedGeneration"]) == (6, 4, 1)
    assert reason(operated, TARGETED, "ScalingLimited") == "AtMaximum"


def test_a_new_spec_is_acted_upon(operated: Cluster) -> None:
    change(operated, TARGETED, scaling={"maxReplicas": 8, "partitionsPerReplica": 3})
    eventually(lambda: replicas(operated) == 2, "two replicas for six partitions, three each")


def test_added_partitions_bring_a_further_replica_within_half_a_minute(operated: Cluster) -> None:
    partitions(operated, "--alter", "transactions", 8)
    eventually(lambda: replicas(operated) == 3, "three replicas for eight partitions, three each", timeout=45)


def test_replicas_that_others_changed_are_set_right(operated: Cluster) -> None:
    operated.kubectl("scale", "deployment/activity-indexer", "--replicas", "1")
    eventually(lambda: replicas(operated) == 3, "three replicas again", timeout=30)


def test_a_dry_run_says_what_it_would_do(operated: Cluster) -> None:
    change(operated, TARGETED, mode="DryRun", scaling={"partitionsPerReplica": 4})
    eventually(lambda: operated.get(TARGETED)["status"]["desiredReplicas"] == 2, "the decision in the status")
    assert replicas(operated) == 3
    change(operated, TARGETED, mode="Active", scaling={"partitionsPerReplica": 3})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"scaling": {"minReplicas": 9}}, "minReplicas must not exceed maxReplicas"),
        ({"scaling": {"policy": "Manual"}}, "policy Manual needs replicas"),
        ({"workload": {"targetRef": None}}, "set exactly one of template"),
        ({"source": {"kafka": {"consumerGroup": "other"}}}, "consumerGroup is immutable"),
        ({"source": {"kafka": {"security": {"protocol": "SASL_SSL"}}}}, "needs saslMechanism and credentialsSecretRef"),
        ({"deadLetter": {"topic": "transactions"}}, "must not be the source topic"),
        ({"deadLetter": {"topic": ".."}}, "should match"),
        ({"deadLetter": {"parkingTopic": "transactions.dlq"}}, "must be a topic of its own"),
    ],
)
def test_specs_that_cannot_work_are_refused_with_a_message_that_says_what_to_do(
    operated: Cluster, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandFailedError, match=message):
        change(operated, TARGETED, **spec)


def test_a_minimal_object_is_a_running_indexer(operated: Cluster) -> None:
    partitions(operated, "--create", "orders", 2)
    apply(operated, MINIMAL)
    operated.kubectl("wait", OWN, "--for=condition=Ready", "--timeout=180s")
    operated.rolled_out("deployment/orders")
    assert replicas(operated, "deployment/orders") == 2
    made = operated.get(
        "configmap,service,serviceaccount,poddisruptionbudget", "-l", "app.kubernetes.io/instance=orders"
    )
    assert {item["kind"] for item in made["items"]} == {
        "ConfigMap", "Service", "ServiceAccount", "PodDisruptionBudget",
    }  # fmt: skip


def test_what_others_change_of_it_is_repaired(operated: Cluster) -> None:
    operated.kubectl("delete", "service/orders", "--wait=false")
    operated.kubectl("patch", "configmap/orders", "--type=merge", "-p", '{"data": {"CONSUMER_BATCH_SIZE": "7"}}')
    eventually(
        lambda: operated.get("configmap/orders")["data"]["CONSUMER_BATCH_SIZE"] == "500", "500 again", timeout=30
    )
    eventually(
        lambda: operated.get("services", "-l", "app.kubernetes.io/instance=orders")["items"], "the service again"
    )


def test_a_spec_that_only_the_api_server_can_judge_is_reported_while_the_last_good_one_runs(operated: Cluster) -> None:
    change(operated, OWN, workload={"template": {"resources": {"limits": {"memory": "much"}}}})
    eventually(lambda: reason(operated, OWN) == "InvalidSpec", "the reason", timeout=30)
    assert len(operated.ready_pods("app.kubernetes.io/instance=orders")) == 2
    change(operated, OWN, workload={"template": {"resources": None}})
    eventually(lambda: reason(operated, OWN) == "ReplicasAvailable", "ready again", timeout=30)


def test_replicas_are_set_by_hand_and_to_zero(operated: Cluster) -> None:
    operated.kubectl("scale", OWN, "--replicas", "1")
    change(operated, OWN, scaling={"policy": "Manual"})
    eventually(lambda: replicas(operated, "deployment/orders") == 1, "one replica", timeout=30)
    change(operated, OWN, mode="Suspended")
    eventually(lambda: replicas(operated, "deployment/orders") == 0, "no replica", timeout=30)
    eventually(lambda: reason(operated, OWN) == "Suspended", "the status, which comes last", timeout=30)


def test_replicas_stay_while_kafka_is_unavailable(operated: Cluster) -> None:
    operated.kubectl("scale", "statefulset/kafka", "--replicas", "0")
    try:
        eventually(
            lambda: reason(operated, TARGETED, "SourceReachable") == "BrokerUnreachable",
            "the resource says that Kafka is unavailable",
            timeout=180,
        )
        assert "partitions" not in operated.get(TARGETED)["status"]
        assert replicas(operated) == 3
    finally:
        operated.kubectl("scale", "statefulset/kafka", "--replicas", "1")
    eventually(lambda: reason(operated, TARGETED) == "ReplicasAvailable", "the resource is ready again", timeout=240)


def test_events_report_its_life(operated: Cluster) -> None:
    events = operated.get("events", "--field-selector", "involvedObject.kind=ActivityIndexer")["items"]
    assert {"Scaled", "ReplicasAvailable", "BrokerUnreachable", "InvalidSpec"} <= {event["reason"] for event in events}


def test_it_asked_for_nothing_that_it_has_no_right_to(operated: Cluster) -> None:
    user = f"system:serviceaccount:{operated.namespace}:activity-indexer-operator"
    log = operated.audit_log()
    used = with_creations(asked(log, user))
    assert {("patch", "apps/deployments/scale"), ("create", "events")} <= used
    assert used <= granted(operated.get("role/activity-indexer-operator")["rules"])
    assert forbidden(log, user) == []


def test_its_metrics_count_what_it_asks_for(operated: Cluster) -> None:
    with port_forward(operated.command, "deployment/activity-indexer-operator", 8080) as http:
        metrics = urlopen(f"{http}/metrics", timeout=10).read().decode()
    assert 'api_requests_total{resource="apps/deployments/scale",verb="patch"}' in metrics


def test_the_operators_log_is_json_without_errors_but_requests_that_are_tried_again(operated: Cluster) -> None:
    lines = operated.kubectl("logs", "deployment/activity-indexer-operator").stdout.splitlines()
    entries = [json.loads(line) for line in lines]
    assert {"workload.scaled", "condition.changed", "object.applied"} <= {entry["event"] for entry in entries}
    errors = [entry for entry in entries if entry["level"] in {"error", "critical"}]
    # A CRD that is a second old answers with 429; kopf calls that an error before it tries again.
    assert [entry for entry in errors if "will retry" not in entry["event"]] == []


def test_objects_are_deleted_at_once_with_the_operator_gone(operated: Cluster) -> None:
    operated.kubectl("delete", "deployment/activity-indexer-operator")
    operated.kubectl("delete", TARGETED, OWN, "--timeout", "30s")
    assert replicas(operated) == 3
    eventually(
        lambda: not operated.get("deploy", "-l", "app.kubernetes.io/instance=orders")["items"], "it is collected"
    )
