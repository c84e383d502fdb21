"""The manifests in k8s/ on a kind cluster: events get through, also when a pod is killed on the way.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import re
from urllib.request import urlopen

import pytest
from e2e import elasticsearch
from e2e.commands import eventually, port_forward
from e2e.kind import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

INDEXER = "app.kubernetes.io/name=activity-indexer"
TRANSACTIONS = 3000  # of k8s/loadgen/job.yaml, of which 5 % are deleted
LEFT_ALIVE = 2850
SETTLED_BEFORE_THE_KILL = 300


def loadgen_result(cluster: Cluster) -> str | None:
    status = cluster.get("job/activity-loadgen")["status"]
    return next((c["type"] for c in status.get("conditions", ()) if c["type"] in {"Complete", "Failed"}), None)


def test_the_pods_get_ready_under_restricted_pod_security(deployed: Cluster) -> None:
    namespace = deployed.get("namespace/activity-indexer")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(deployed.ready_pods(INDEXER)) == 2


def test_nothing_is_lost_or_stale_when_a_pod_is_killed_half_way(deployed: Cluster, elasticsearch_address: str) -> None:
    deployed.kubectl("apply", "-k", "k8s/loadgen")
    eventually(
        lambda: elasticsearch.count(elasticsearch_address, "*") > SETTLED_BEFORE_THE_KILL,
        "the first documents",
        interval=0.5,
    )
    victim = deployed.ready_pods(INDEXER)[0]
    deployed.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    assert elasticsearch.count(elasticsearch_address, "*") < LEFT_ALIVE, "the pod was killed too late to prove anything"

    result = eventually(lambda: loadgen_result(deployed), "the end of the load generator", timeout=300)
    assert result == "Complete", deployed.kubectl("logs", "job/activity-loadgen", "--tail=40").stdout
    assert elasticsearch.count(elasticsearch_address, "*") == LEFT_ALIVE


def test_transactions_are_found_by_their_user(elasticsearch_address: str) -> None:
    found = elasticsearch.search(elasticsearch_address, "user_id:test_user_123")
    assert len(found) == 10
    assert {document["user_id"] for document in found} == {"test_user_123"}


def test_the_audit_has_a_row_for_each_live_transaction(deployed: Cluster) -> None:
    eventually(
        lambda: int(deployed.sql("SELECT COUNT(*) FROM transactions")) == LEFT_ALIVE, f"{LEFT_ALIVE} rows in PostgreSQL"
    )


def test_the_killed_pod_is_replaced(deployed: Cluster) -> None:
    eventually(lambda: len(deployed.ready_pods(INDEXER)) == 2, "two ready indexers")


def test_a_rolling_restart_is_clean_and_loses_no_progress(deployed: Cluster) -> None:
    deployed.kubectl("rollout", "restart", "deployment/activity-indexer")
    deployed.rolled_out("deployment/activity-indexer")

    eventually(lambda: not lagging(deployed), "no lag", timeout=60)


def lagging(cluster: Cluster) -> list[str]:
    """Lines of the group's description that show events which are not committed."""
    tool = ("/opt/kafka/bin/kafka-consumer-groups.sh", "--bootstrap-server", "localhost:9092")
    shown = cluster.kubectl("exec", "kafka-0", "--", *tool, "--group", "transaction_indexer", "--describe").stdout
    rows = [line.split() for line in shown.splitlines() if line.startswith("transaction_indexer ")]
    assert rows, shown
    return [" ".join(row) for row in rows if row[5] not in {"0", "-"}]


def test_the_metrics_are_served_in_prometheus_form(deployed: Cluster) -> None:
    with (
        port_forward(deployed.command, "service/activity-indexer", 8080) as http,
        urlopen(f"{http}/metrics", timeout=10) as answer,
    ):
        text = answer.read().decode()
    assert re.search(r"^# TYPE activity_indexer_\w+ counter$", text, re.MULTILINE)
