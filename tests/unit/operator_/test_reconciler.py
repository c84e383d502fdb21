from __future__ import annotations

from typing import Any

import pytest

from activity_indexer_operator.api import ActivityIndexer, Kafka, Key, Status, parse
from activity_indexer_operator.decide import Number, Unknown
from activity_indexer_operator.ports import ClusterError
from activity_indexer_operator.reconciler import Reconciler

KEY = Key("payments", "transactions")
SPEC = {
    "kafka": {"bootstrapServers": ["kafka:9093"], "topic": "transactions", "group": "transaction_indexer"},
    "workload": {"targetRef": {"name": "activity-indexer"}},
    "scaling": {"min": 1, "max": 4},
}


class FakeCluster:
    def __init__(self, spec: dict[str, Any], replicas: Number) -> None:
        self.body = {"metadata": {"namespace": "payments", "name": "transactions", "generation": 3}, "spec": spec}
        self.deployments = {"activity-indexer": replicas}
        self.scaled: list[int] = []
        self.saved: list[Status] = []
        self.refuse_scaling = False
        self.exists = True

    async def read(self, key: Key) -> ActivityIndexer | None:
        read = parse(self.body)
        status = self.saved[-1] if self.saved else Status()
        return ActivityIndexer(key, read.generation, read.spec, status) if self.exists else None

    async def replicas(self, namespace: str, deployment: str) -> Number:
        assert namespace == "payments"
        return self.deployments.get(deployment, Unknown("TargetNotFound", f"there is no Deployment {deployment}"))

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        if self.refuse_scaling:
            raise ClusterError("cannot scale: 403 Forbidden")
        self.scaled.append(replicas)
        self.deployments[deployment] = replicas

    async def save_status(self, key: Key, status: Status) -> None:
        self.saved.append(status)


class FakeTopics:
    def __init__(self, partitions: Number, lag: Number = 0) -> None:
        self.count = partitions
        self.behind = lag

    async def partitions(self, kafka: Kafka) -> Number:
        return self.count

    async def lag(self, kafka: Kafka, partitions: int) -> Number:
        return self.behind


def ready(status: Status) -> tuple[str, str]:
    [condition] = [c for c in status.conditions if c.type == "Ready"]
    return condition.status, condition.reason


async def test_the_workload_is_scaled_and_the_status_says_so() -> None:
    cluster = FakeCluster(SPEC, replicas=1)
    await Reconciler(cluster, FakeTopics(3, lag=42)).reconcile(KEY)

    assert cluster.scaled == [3]
    [status] = cluster.saved
    assert (status.partitions, status.desired_replicas, status.replicas, status.lag) == (3, 3, 3, 42)
    assert status.observed_generation == 3
    assert ready(status) == ("True", "Following")


async def test_what_was_done_and_what_changed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    reconciler = Reconciler(FakeCluster(SPEC, replicas=1), FakeTopics(3))
    await reconciler.reconcile(KEY)
    await reconciler.reconcile(KEY)

    assert [record.getMessage() for record in caplog.records] == [
        "workload.scaled",
        "condition.changed",
        "condition.changed",
    ]


async def test_a_second_pass_without_a_change_writes_nothing() -> None:
    cluster = FakeCluster(SPEC, replicas=1)
    reconciler = Reconciler(cluster, FakeTopics(3))
    await reconciler.reconcile(KEY)
    await reconciler.reconcile(KEY)

    assert (len(cluster.scaled), len(cluster.saved)) == (1, 1)


async def test_a_maximum_that_holds_replicas_back_is_a_condition() -> None:
    cluster = FakeCluster(SPEC, replicas=1)
    await Reconciler(cluster, FakeTopics(12)).reconcile(KEY)

    assert cluster.scaled == [4]
    [limited] = [c for c in cluster.saved[0].conditions if c.type == "ScalingLimited"]
    assert (limited.status, limited.reason) == ("True", "AtMaximum")
    assert "spec.scaling.max (4)" in limited.message


async def test_an_unreachable_kafka_leaves_replicas_alone_and_numbers_absent() -> None:
    cluster = FakeCluster(SPEC, replicas=3)
    await Reconciler(cluster, FakeTopics(Unknown("KafkaUnreachable", "no answer"))).reconcile(KEY)

    assert cluster.scaled == []
    [status] = cluster.saved
    assert ready(status) == ("False", "KafkaUnreachable")
    assert (status.partitions, status.desired_replicas, status.lag) == (None, None, None)
    assert status.replicas == 3


async def test_a_missing_deployment_is_told() -> None:
    cluster = FakeCluster(SPEC, replicas=1)
    cluster.deployments.clear()
    await Reconciler(cluster, FakeTopics(3)).reconcile(KEY)

    assert ready(cluster.saved[0]) == ("False", "TargetNotFound")
    assert cluster.saved[0].replicas is None


async def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    times = iter(["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"])
    cluster, topics = FakeCluster(SPEC, replicas=3), FakeTopics(3, lag=1)
    reconciler = Reconciler(cluster, topics, now=lambda: next(times))
    await reconciler.reconcile(KEY)
    topics.behind = 2
    await reconciler.reconcile(KEY)
    topics.count = Unknown("KafkaUnreachable", "no answer")
    await reconciler.reconcile(KEY)

    seen = [c.last_transition_time for status in cluster.saved for c in status.conditions if c.type == "Ready"]
    assert seen == ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z"]


@pytest.mark.parametrize("scaling", [{"min": 5, "max": 4}, {"max": 0}, {"partitionsPerReplica": 0}, {"min": "one"}])
async def test_a_spec_that_cannot_work_is_told_and_nothing_done(scaling: dict[str, Any]) -> None:
    cluster = FakeCluster(SPEC | {"scaling": scaling}, replicas=1)
    await Reconciler(cluster, FakeTopics(3)).reconcile(KEY)

    assert cluster.scaled == []
    assert ready(cluster.saved[0]) == ("False", "SpecInvalid")


async def test_a_refused_scaling_is_no_status_of_success() -> None:
    cluster = FakeCluster(SPEC, replicas=1)
    cluster.refuse_scaling = True
    with pytest.raises(ClusterError):
        await Reconciler(cluster, FakeTopics(3)).reconcile(KEY)

    assert cluster.saved == []


async def test_an_object_that_is_gone_is_left_alone() -> None:
    cluster = FakeCluster(SPEC, replicas=1)
    cluster.exists = False
    await Reconciler(cluster, FakeTopics(3)).reconcile(KEY)

    assert (cluster.scaled, cluster.saved) == ([], [])
