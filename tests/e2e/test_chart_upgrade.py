"""From the release before to this one, while events are indexed; then two operators, one of which is killed.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from e2e.chart import (
    CHART,
    CRD_NAMES,
    CRDS,
    INDEXER,
    INDEXERS,
    OPERATOR,
    OPERATORS,
    OURS,
    PARTITIONS,
    Helm,
    leftovers,
    records,
    settled,
    values,
    without_crds,
    write,
)
from e2e.commands import ROOT, eventually, missing_program
from e2e.pod_logs import Allowed
from e2e.release import Release, commit_before_this_version, unpack
from e2e.show import Show
from e2e.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

LOAD = ("--count=6000", "--rate=60", "--users=100", "--update-ratio=0.2", "--delete-ratio=0.05", "--invalid-ratio=0.01")
ALLOWED = (
    Allowed(
        "OffsetCommit failed for group .* will rejoin", "0.1.0 calls an error what is a warning since: a rebalance"
    ),
    Allowed(
        "Group Coordinator Request failed: .*GroupCoordinatorNotAvailableError",
        "likewise: a broker that no group has asked before makes its topic of offsets first",
    ),
    Allowed("have versions of an older release", "the upgrade from 0.1.0 needs a reindex, and says so"),
)
LEASE = "lease/activity-indexer-operator"
TWO_OPERATORS = {"replicas": 2}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release before this one."""
    if reason := missing_program("helm", "git"):
        pytest.skip(reason)
    try:
        return unpack(commit_before_this_version(), tmp_path_factory.mktemp("release"))
    except LookupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def old(before: Release, begin: Callable[[str], Story]) -> Story:
    """A namespace on a cluster that has the images of the release before, and none of our CRDs."""
    story = begin("old")
    story.cluster.load(*before.build())
    without_crds(story.cluster)
    return story


@pytest.fixture(scope="module")
def helm(old: Story) -> Helm:
    """`helm` in the story's namespace."""
    return Helm(old.cluster)


def holder(story: Story) -> str:
    """The operator that works."""
    return str(story.cluster.get(LEASE)["spec"].get("holderIdentity", ""))


def test_the_release_before_runs(old: Story, before: Release, helm: Helm, tmp_path: Path) -> None:
    given = write(values(old, before.version), tmp_path)
    helm("install", "activity-indexer", before.chart, "--values", given, "--wait", "--timeout", "8m")
    eventually(lambda: old.replicas(INDEXER) == PARTITIONS, "a replica for each partition", timeout=120)
    old.cluster.rolled_out(INDEXER)
    eventually(lambda: old.condition(OURS) == "ReplicasAvailable", "the resource is ready", timeout=240)


def test_an_upgrade_to_this_one_under_load_asks_for_a_reindex_loses_nothing_and_delivers_nothing_again(
    old: Story, helm: Helm, tmp_path: Path, shown: Show, before: Release
) -> None:
    old.load("through", *LOAD)
    eventually(lambda: old.documents() > 0, "documents of the load", timeout=180)
    stop(old, OPERATOR, OPERATORS)
    stop(old, INDEXER, INDEXERS)
    new = values(old)
    given = write(new | {"operator": new["operator"] | TWO_OPERATORS}, tmp_path)
    helm("upgrade", "activity-indexer", CHART, "--values", given, "--timeout", "10m")
    pod = eventually(lambda: refusing(old), "an indexer that refuses the index of the older release", timeout=240)
    old.cluster.kubectl("exec", pod, "--", "activity-indexer", "reindex", "--from", "topic", "--json", timeout=300)
    old.cluster.rolled_out(INDEXER, 600)
    assert old.loaded("job/through")["verified"]["ok"] is True
    eventually(lambda: old.differences() == {}, "audit and index agree", timeout=180, interval=3)
    expected = records(old)
    eventually(lambda: settled(old) >= expected, f"{expected} settled events in the logs", timeout=60)
    again = settled(old) - expected
    shown.keep("upgrade.txt", f"from {before.version} to this: {expected} events, {again} of them delivered again\n")
    assert again == 0, "delivered again"


def stop(story: Story, workload: str, selector: str) -> None:
    """Ends all pods of a workload."""
    story.cluster.kubectl("scale", workload, "--replicas=0")
    eventually(lambda: not story.cluster.get("pods", "-l", selector)["items"], f"no pod of {workload}", timeout=120)


def refusing(story: Story) -> str | None:
    """A pod that runs and says why it is not ready."""
    reported = [
        line.pod for line in story.logs.lines("^activity-indexer-") if "versions of an older release" in line.text
    ]
    pods = story.cluster.get("pods", "-l", INDEXERS)["items"]
    running = {pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"}
    return next((pod for pod in reported if pod in running), None)


def test_its_objects_are_those_of_this_release(old: Story) -> None:
    version = yaml.safe_load((ROOT / CHART / "Chart.yaml").read_text())["version"]
    chart = f"activity-indexer-operator-{version}"
    assert {crd["metadata"]["labels"]["helm.sh/chart"] for crd in old.cluster.get("crd", *CRD_NAMES)["items"]} == {
        chart
    }
    eventually(lambda: old.condition(OURS) == "ReplicasAvailable", "the resource is ready", timeout=120)
    assert old.replicas(INDEXER) == PARTITIONS


def test_of_two_operators_the_other_goes_on_when_the_one_is_killed(old: Story) -> None:
    old.cluster.rolled_out(OPERATOR)
    first = eventually(lambda: holder(old), "an operator that works", timeout=60)
    assert first in (two := old.cluster.ready_pods(OPERATORS))
    assert len(two) == 2
    old.cluster.kubectl("delete", "pod", first, "--grace-period=0", "--force")
    eventually(lambda: holder(old) not in {"", first}, "the other one works", timeout=90)
    old.partitions(PARTITIONS + 1)
    eventually(lambda: old.replicas(INDEXER) == PARTITIONS + 1, "a replica for the new partition", timeout=60)


def test_an_uninstall_leaves_nothing(old: Story, helm: Helm) -> None:
    helm("uninstall", "activity-indexer", "--wait", "--timeout", "3m")
    old.cluster.kubectl("delete", "job/through")
    eventually(lambda: leftovers(old) == [], "an empty namespace", timeout=120)
    old.cluster.kubectl("delete", *CRDS, "--timeout=60s")


def test_no_log_reports_an_error_that_is_not_expected(old: Story) -> None:
    assert [f"{line.pod}: {line.text}" for line in old.logs.unexpected(ALLOWED)] == []
    assert old.logs.lines("operator")
