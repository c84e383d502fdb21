"""The minimal object, its modes, and an indexer that is disturbed in every way under load.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from e2e.commands import eventually, run
from e2e.pod_logs import Allowed
from e2e.sample import INDEXERS, OPERATOR, OPERATORS, PARTITIONS, RESOURCE, WORKLOAD, begin_sample
from e2e.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

STILL_SECONDS = 8
LOAD = ("--count=5000", "--rate=50", "--users=50", "--update-ratio=0.2", "--delete-ratio=0.1", "--late-ratio=0.05")
KILL_API_SERVER = "for p in /proc/[0-9]*; do grep -qz ^kube-apiserver $p/cmdline && kill -9 ${p#/proc/}; done; true"

ALLOWED = (Allowed("^.*Request attempt .* failed", "the API server is killed; kopf logs each request that it repeats"),)


@pytest.fixture(scope="module")
def sample(begin: Callable[[str], Story], tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A namespace with an operator and an indexer."""
    return begin_sample(begin, "sample", tmp_path_factory.mktemp("sample"))


@contextmanager
def cordoned(story: Story, node: str) -> Iterator[None]:
    """A node that gets no pods."""
    story.cluster.kubectl("cordon", node)
    try:
        yield
    finally:
        story.cluster.kubectl("uncordon", node)


def nodes_with_indexers(story: Story) -> list[str]:
    """Names of the nodes that indexers are on."""
    return sorted({pod["spec"]["nodeName"] for pod in story.cluster.get("pods", "-l", INDEXERS)["items"]})


def restarts(story: Story) -> dict[str, int]:
    """How often the container of each indexer was started again."""
    pods = story.cluster.get("pods", "-l", INDEXERS)["items"]
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def test_a_minimal_object_alone_is_a_running_indexer(sample: Story) -> None:
    sample.cluster.rolled_out(OPERATOR)
    eventually(lambda: sample.condition(RESOURCE) == "ReplicasAvailable", "the resource is ready", timeout=300)
    eventually(lambda: len(sample.cluster.ready_pods(INDEXERS)) == PARTITIONS, "a pod per partition", timeout=240)


def test_paused_leaves_what_users_do_alone(sample: Story) -> None:
    sample.cluster.change(RESOURCE, mode="Paused")
    eventually(lambda: sample.condition(RESOURCE) == "Paused", "it is paused", timeout=60)
    sample.cluster.kubectl("scale", WORKLOAD, "--replicas=1")
    time.sleep(STILL_SECONDS)
    assert sample.replicas(WORKLOAD) == 1


def test_suspended_scales_to_zero_and_active_brings_all_back(sample: Story) -> None:
    sample.cluster.change(RESOURCE, mode="Suspended")
    eventually(lambda: sample.replicas(WORKLOAD) == 0, "no replica", timeout=60)
    eventually(lambda: sample.condition(RESOURCE) == "Suspended", "the status, which comes last", timeout=60)
    sample.cluster.change(RESOURCE, mode="Active")
    eventually(lambda: sample.replicas(WORKLOAD) == PARTITIONS, "all of them", timeout=60)
    eventually(lambda: len(sample.cluster.ready_pods(INDEXERS)) == PARTITIONS, "they are ready", timeout=240)


def test_a_pod_is_killed_under_load(sample: Story) -> None:
    sample.load("disturbed", *LOAD)
    eventually(lambda: sample.documents() > 0, "the first documents", timeout=180)
    victim = sample.cluster.ready_pods(INDEXERS)[0]
    sample.cluster.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    eventually(lambda: len(sample.cluster.ready_pods(INDEXERS)) == PARTITIONS, "it is replaced", timeout=240)


def test_a_node_is_drained_one_pod_after_the_other(sample: Story) -> None:
    drained = nodes_with_indexers(sample)[0]
    if len(sample.cluster.get("nodes")["items"]) == 1:
        pytest.skip("the cluster has one node: its pods would have nowhere to go")
    with cordoned(sample, drained):
        # The servers' volumes are on their node, so only the indexers are asked to go.
        selector = f"--pod-selector={INDEXERS}"
        sample.cluster.kubectl(
            "drain", drained, selector, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s"
        )
        eventually(lambda: len(sample.cluster.ready_pods(INDEXERS)) == PARTITIONS, "all are elsewhere", timeout=240)
        assert drained not in nodes_with_indexers(sample)


def test_an_operator_that_is_killed_sees_afterwards_what_changed(sample: Story) -> None:
    sample.cluster.kubectl("scale", OPERATOR, "--replicas=0")
    sample.cluster.kubectl("delete", "pod", "-l", OPERATORS, "--grace-period=0", "--force")
    sample.partitions(PARTITIONS + 1)
    sample.cluster.kubectl("scale", OPERATOR, "--replicas=1")
    eventually(lambda: sample.replicas(WORKLOAD) == PARTITIONS + 1, "a replica for the new partition", timeout=180)
    eventually(lambda: len(sample.cluster.ready_pods(INDEXERS)) == PARTITIONS + 1, "it is ready", timeout=240)


def test_the_api_server_is_killed_and_the_operator_goes_on(sample: Story) -> None:
    before = restarts(sample)
    run("docker", "exec", sample.cluster.control_plane(), "sh", "-c", KILL_API_SERVER)
    eventually(lambda: sample.cluster.kubectl("get", "--raw", "/readyz").stdout == "ok", "it is back", timeout=240)
    assert restarts(sample) == before, "the indexers need no API server"
    sample.cluster.kubectl("scale", WORKLOAD, "--replicas=1")
    eventually(lambda: sample.replicas(WORKLOAD) == PARTITIONS + 1, "the operator repairs again", timeout=180)


def test_nothing_is_lost_for_all_that(sample: Story) -> None:
    assert sample.loaded("job/disturbed")["verified"]["ok"] is True
    eventually(lambda: sample.differences() == {}, "audit and index agree", timeout=180, interval=3)


def test_no_log_reports_an_error_that_is_not_expected(sample: Story) -> None:
    assert [f"{line.pod}: {line.text}" for line in sample.logs.unexpected(ALLOWED)] == []
    assert sample.logs.lines("operator")


def test_a_namespace_goes_at_once_with_the_operator_gone(sample: Story) -> None:
    sample.logs.stop()
    sample.cluster.kubectl("delete", OPERATOR, "--wait=true", "--timeout=90s")
    sample.cluster.kubectl("delete", "namespace", "sample", "--timeout=180s", timeout=200)
    listed = sample.cluster.kubectl("get", "aidx", "--all-namespaces", "-o", "name").stdout
    assert "transactions" not in listed
