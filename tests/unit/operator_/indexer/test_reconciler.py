from __future__ import annotations

from typing import Any

import pytest
from fixtures.memory.cluster import NAMESPACE
from fixtures.operator import SPEC, TARGETED, World

from activity_indexer_operator.indexer.reconciler import LAG_INTERVAL, SECOND_LOOK, IndexerReconciler
from activity_indexer_operator.kafka.observation import Unknown
from activity_indexer_operator.kube.objects import Key
from activity_indexer_operator.kube.ports import ClusterError
from activity_indexer_operator.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INDEXERS, STATEFUL_SETS, Resource
from activity_indexer_operator.runtime.queue import NEVER

KEY = Key("ActivityIndexer", NAMESPACE, "orders")
UNAVAILABLE = Unknown("BrokerUnreachable", "no answer")


class Life:
    """One reconciler in a world; like the watches, it sees all changes before each pass."""

    def __init__(self, spec: dict[str, Any] | None = None, partitions: Any = 3) -> None:
        self.world = World(SPEC if spec is None else spec, partitions)
        self.reconciler = self.restarted()

    def restarted(self) -> IndexerReconciler:
        return self.world.reconciler()

    async def goes_on(self, seconds: float = 25.0) -> float | None:
        """One pass; requests of before are forgotten."""
        self.world.clock.now += seconds
        self.world.cluster.requests.clear()
        for (plural, _, _), body in self.world.cluster.objects.items():
            for resource in (INDEXERS, DEPLOYMENTS, STATEFUL_SETS, CONFIG_MAPS):
                if resource.plural == plural:
                    self.world.cache.put(resource, body)
        return await self.reconciler.reconcile(KEY)

    def replicas(self, resource: Resource = DEPLOYMENTS, name: str = "orders") -> int:
        body = self.world.cluster.of(resource, name)
        assert body is not None
        return int(body["spec"]["replicas"])


@pytest.fixture
async def running() -> Life:
    """An indexer whose three replicas are all ready."""
    life = Life()
    await life.goes_on()
    life.world.cluster.serve(DEPLOYMENTS, "orders")
    await life.goes_on()
    return life


@pytest.fixture
async def targeted() -> Life:
    """A Deployment of another owner with two replicas, and an object that names it."""
    life = Life(TARGETED)
    life.world.cluster.put(DEPLOYMENTS, "by-hand", {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}})
    life.world.cluster.serve(DEPLOYMENTS, "by-hand")
    return life


async def test_an_applied_object_makes_all_that_an_indexer_needs_at_the_right_size() -> None:
    life = Life()
    await life.goes_on()

    made = {plural for plural, _, name in life.world.cluster.objects if name == "orders"}
    assert made == {
        "activityindexers", "serviceaccounts", "configmaps", "services", "poddisruptionbudgets", "deployments",
    }  # fmt: skip
    assert life.replicas() == 3
    assert life.world.cluster.scalings() == [], "each change of the group costs a rebalance"
    assert life.world.condition("Ready") == ("False", "WaitingForReplicas")


async def test_a_served_object_is_ready_and_says_what_it_was_decided_from(running: Life) -> None:
    status = running.world.status()
    assert running.world.condition("Ready") == ("True", "ReplicasAvailable")
    assert running.world.condition("Progressing") == ("False", "RolloutComplete")
    assert (status["partitions"]["total"], status["desiredReplicas"], status["readyReplicas"]) == (3, 3, 3)
    assert status["decision"] == {
        "policy": "PartitionCount", "reason": "PartitionCount", "message": "3 partitions, 1 per replica",
    }  # fmt: skip
    assert status["observedGeneration"] == 1
    assert status["selector"].startswith("app.kubernetes.io/component=indexer,")


async def test_a_pass_over_an_unchanged_object_asks_the_api_server_nothing(running: Life) -> None:
    await running.goes_on()  # rates need two looks
    await running.goes_on()
    assert running.world.cluster.requests == []


async def test_a_new_operator_repairs_nothing_that_is_right(running: Life) -> None:
    running.reconciler = running.restarted()
    generation = running.world.cluster.of(DEPLOYMENTS, "orders")["metadata"]["generation"]
    await running.goes_on()
    assert running.world.cluster.scalings() == []
    assert running.world.cluster.of(DEPLOYMENTS, "orders")["metadata"]["generation"] == generation


async def test_added_partitions_bring_replicas(running: Life) -> None:
    running.world.kafka.partitions = 5
    await running.goes_on()

    assert running.world.cluster.scalings() == [5]
    last = running.world.status()["lastScale"]
    assert (last["from"], last["to"], last["reason"]) == (3, 5, "PartitionCount")
    assert ("Normal", "Scaled") in running.world.cluster.events()


async def test_replicas_that_others_changed_are_set_right(running: Life) -> None:
    await running.world.cluster.scale(DEPLOYMENTS, NAMESPACE, "orders", 1)
    await running.goes_on()
    assert running.world.cluster.scalings() == [3]


async def test_an_object_that_others_changed_is_repaired(running: Life) -> None:
    await running.world.cluster.patch(CONFIG_MAPS, NAMESPACE, "orders", {"data": {"CONSUMER_BATCH_SIZE": "1"}})
    await running.goes_on()
    assert running.world.cluster.of(CONFIG_MAPS, "orders")["data"]["CONSUMER_BATCH_SIZE"] == "500"


async def test_a_deleted_object_is_created_again(running: Life) -> None:
    del running.world.cluster.objects[("deployments", NAMESPACE, "orders")]
    running.world.cache.drop(DEPLOYMENTS, NAMESPACE, "orders")
    await running.goes_on()
    assert running.replicas() == 3


async def test_one_missed_look_changes_nothing_and_is_repeated_soon(running: Life) -> None:
    running.world.kafka.partitions = UNAVAILABLE
    before = dict(running.world.status())
    assert await running.goes_on() == SECOND_LOOK
    assert running.world.status() == before
    assert running.world.kafka.forgotten == 1, "the second look takes a connection of its own"


async def test_an_unreachable_kafka_leaves_replicas_alone_and_numbers_absent(running: Life) -> None:
    running.world.kafka.partitions = UNAVAILABLE
    await running.goes_on()
    assert await running.goes_on(SECOND_LOOK) == SECOND_LOOK

    assert running.replicas() == 3
    assert running.world.condition("SourceReachable") == ("False", "BrokerUnreachable")
    assert running.world.condition("Ready") == ("False", "SourceUnreachable")
    assert running.world.condition("ScalingLimited") == ("Unknown", "PartitionsUnknown")
    assert {"partitions", "desiredReplicas", "lag"}.isdisjoint(running.world.status())


async def test_an_unreachable_kafka_is_reported_at_once_to_an_object_that_knows_of_nothing_else() -> None:
    life = Life(partitions=UNAVAILABLE)
    await life.goes_on()
    assert life.world.condition("SourceReachable") == ("False", "BrokerUnreachable")
    assert life.replicas() == 1, "an indexer that waits for its topic may be what creates it"


@pytest.mark.parametrize(("most", "limited"), [(2, b"1.0"), (3, b"0.0")])
async def test_a_maximum_that_keeps_replicas_down_is_in_the_metrics(running: Life, most: int, limited: bytes) -> None:
    running.world.change(scaling={"maxReplicas": most})
    await running.goes_on()
    assert b'scaling_limited{name="orders",namespace="shop"} ' + limited in running.world.metrics.exposition()


async def test_fewer_partitions_count_only_when_seen_twice(running: Life) -> None:
    running.world.kafka.partitions = 2
    assert await running.goes_on() == SECOND_LOOK
    assert (running.replicas(), running.world.status()["partitions"]["total"]) == (3, 3)
    await running.goes_on(SECOND_LOOK)
    assert running.replicas() == 2


async def test_fewer_partitions_that_were_a_mistake_are_forgotten(running: Life) -> None:
    for partitions in (2, 3, 2):
        running.world.kafka.partitions = partitions
        await running.goes_on(SECOND_LOOK)
    assert running.replicas() == 3


async def test_a_dry_run_decides_and_does_nothing() -> None:
    life = Life(SPEC | {"mode": "DryRun"})
    await life.goes_on()

    assert life.world.cluster.of(DEPLOYMENTS, "orders") is None
    assert life.world.status()["desiredReplicas"] == 3
    assert life.world.condition("Ready") == ("False", "DryRun")


async def test_paused_leaves_the_workload_as_it_is(running: Life) -> None:
    running.world.change(mode="Paused", workload={"template": {"image": "other:2"}})
    running.world.kafka.partitions = 6
    await running.goes_on()

    assert running.world.cluster.writes() == ["status ActivityIndexer", "create Event"]
    assert running.world.condition("Ready") == ("True", "Paused")
    assert running.world.status()["desiredReplicas"] == 6


async def test_suspended_scales_to_zero_though_kafka_is_unavailable(running: Life) -> None:
    running.world.change(mode="Suspended")
    running.world.kafka.partitions = UNAVAILABLE
    await running.goes_on()
    assert running.replicas() == 0
    assert running.world.condition("Ready") == ("False", "Suspended")


async def test_active_again_after_suspended_has_its_replicas_back(running: Life) -> None:
    for mode in ("Suspended", "Active"):
        running.world.change(mode=mode)
        await running.goes_on()
    assert running.replicas() == 3


async def test_manual_takes_the_number_that_kubectl_scale_wrote(running: Life) -> None:
    running.world.change(scaling={"policy": "Manual", "replicas": 2})
    await running.goes_on()
    assert running.replicas() == 2


async def test_of_a_target_only_the_scale_is_touched(targeted: Life) -> None:
    await targeted.goes_on()
    assert targeted.world.cluster.writes() == [
        "scale Deployment 3", "create Event", "status ActivityIndexer", "create Event",
    ]  # fmt: skip
    assert targeted.world.condition("Ready") == ("True", "ReplicasAvailable")
    assert targeted.world.status()["selector"] == "app=x"


async def test_a_missing_target_is_reported_and_looked_for_again() -> None:
    life = Life(TARGETED)
    assert await life.goes_on() == SECOND_LOOK
    assert life.world.condition("Ready") == ("False", "TargetNotFound")
    assert life.world.condition("Progressing") == ("Unknown", "WorkloadUnknown")


async def test_what_was_made_before_the_target_was_named_is_removed(running: Life) -> None:
    running.world.cluster.put(DEPLOYMENTS, "by-hand", {"replicas": 3, "selector": {"matchLabels": {"app": "x"}}})
    running.world.change(workload={"template": None, "targetRef": {"kind": "Deployment", "name": "by-hand"}})
    await running.goes_on()
    assert running.world.cluster.of(DEPLOYMENTS, "orders") is None
    assert running.world.cluster.of(DEPLOYMENTS, "by-hand") is not None


async def test_a_target_that_is_not_there_takes_nobodys_place(running: Life) -> None:
    running.world.change(workload={"template": None, "targetRef": {"kind": "Deployment", "name": "mis-spelt"}})
    assert await running.goes_on() == SECOND_LOOK
    assert running.world.condition("Ready") == ("False", "TargetNotFound")
    assert running.world.cluster.of(DEPLOYMENTS, "orders") is not None


async def test_a_target_may_be_a_stateful_set() -> None:
    life = Life(SPEC | {"workload": {"targetRef": {"kind": "StatefulSet", "name": "by-hand"}}})
    life.world.cluster.put(STATEFUL_SETS, "by-hand", {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}})
    await life.goes_on()
    assert life.replicas(STATEFUL_SETS, "by-hand") == 3


async def test_a_spec_that_the_api_server_refuses_is_reported_while_the_last_good_one_runs(running: Life) -> None:
    running.world.change(workload={"template": {"logLevel": "debug", "extraEnv": [{"name": "="}]}})
    running.world.cluster.refused["rehearse Deployment"] = "env[0].name: Invalid value"
    running.world.kafka.partitions = 4
    await running.goes_on()

    assert running.world.condition("Ready") == ("False", "InvalidSpec")
    assert running.replicas() == 4, "the last good spec is still followed"
    assert running.world.cluster.of(CONFIG_MAPS, "orders")["data"]["CONSUMER_LOG_LEVEL"] == "info"


async def test_the_last_good_spec_outlives_the_operator(running: Life) -> None:
    running.world.change(scaling={"minReplicas": 5, "maxReplicas": 4})
    running.world.kafka.partitions = 4
    running.reconciler = running.restarted()
    await running.goes_on()
    assert running.world.condition("Ready") == ("False", "InvalidSpec")
    assert running.replicas() == 4


@pytest.mark.parametrize("scaling", [{"minReplicas": 5, "maxReplicas": 4}, {"maxReplicas": 0}, {"minReplicas": "one"}])
async def test_a_spec_that_cannot_work_is_reported_and_nothing_done(scaling: dict[str, Any]) -> None:
    life = Life(SPEC | {"scaling": scaling})
    await life.goes_on()
    assert life.world.cluster.writes() == ["status ActivityIndexer", "create Event"]
    assert life.world.condition("Ready") == ("False", "InvalidSpec")


async def test_a_name_that_is_taken_is_reported_and_left_alone() -> None:
    life = Life()
    life.world.cluster.put(DEPLOYMENTS, "orders", {"replicas": 7})
    await life.goes_on()
    assert life.replicas() == 7
    assert life.world.condition("Ready") == ("False", "InvalidSpec")


async def test_a_refused_scaling_is_no_status_of_success(targeted: Life) -> None:
    targeted.world.cluster.refused["scale Deployment"] = "403"
    with pytest.raises(ClusterError):
        await targeted.goes_on()
    assert targeted.world.status() == {}


async def test_dead_letters_are_counted_up_to_what_full_replays_have_read(running: Life) -> None:
    running.world.kafka.dead = 7
    await running.goes_on()
    assert running.world.status()["deadLetter"] == {"depth": 7}
    assert running.world.condition("DeadLetterEmpty") == ("False", "EventsWaiting")
    assert ("Warning", "EventsWaiting") in running.world.cluster.events()


async def test_a_group_of_a_full_replay_is_asked_for_and_of_a_filtered_one_not(running: Life) -> None:
    from activity_indexer_operator.kube.resources import REPLAYS

    for name, selection in (("all", {}), ("some", {"stages": ["decode"]})):
        body = running.world.cluster.put(
            REPLAYS, name, {"indexerRef": {"name": "orders"}, "mode": "Replay", "id": name, "selection": selection},
            creationTimestamp="2026-01-01T00:00:00Z",
        )  # fmt: skip
        body["status"] = {"startTime": "2026-01-01T00:00:00Z"}
        running.world.cache.put(REPLAYS, body)
    await running.goes_on()
    assert running.world.kafka.questions[-1].handled_by == ("indexer.replay.all",)


async def test_numbers_that_always_move_are_written_now_and_then(running: Life) -> None:
    written = []
    for lag in range(5, 10):
        running.world.kafka.lag = lag
        await running.goes_on(5)
        written.append(running.world.status()["lag"]["total"])
    assert written == [0, 0, 0, 8, 8]


async def test_a_condition_keeps_its_time_until_its_status_changes(running: Life) -> None:
    def since() -> str:
        [ready] = [c for c in running.world.status()["conditions"] if c["type"] == "Ready"]
        return str(ready["lastTransitionTime"])

    first = since()
    running.world.kafka.partitions = 4
    await running.goes_on()
    assert since() == first
    running.world.kafka.partitions = UNAVAILABLE
    for _ in range(2):
        await running.goes_on()
    assert since() != first


async def test_events_report_transitions_only(running: Life) -> None:
    before = len(running.world.cluster.events())
    for _ in range(3):
        running.world.kafka.lag += 1
        await running.goes_on(30)
    assert len(running.world.cluster.events()) == before


async def test_the_policy_lag_looks_more_often(running: Life) -> None:
    running.world.change(scaling={"policy": "Lag"})
    assert await running.goes_on() == LAG_INTERVAL


async def test_an_object_that_is_gone_is_forgotten_with_its_metrics(running: Life) -> None:
    assert b'indexer_partitions{name="orders"' in running.world.metrics.exposition()
    del running.world.cluster.objects[("activityindexers", NAMESPACE, "orders")]
    running.world.cache.drop(INDEXERS, NAMESPACE, "orders")
    assert await running.goes_on() == NEVER
    assert b'indexer_partitions{name="orders"' not in running.world.metrics.exposition()
