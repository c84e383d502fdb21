"""skaffold on kind: edit and see, what would be shipped, and the smoke test.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from e2e.chart import CRDS, without_crds
from e2e.commands import eventually, missing_program
from e2e.kind import NAMESPACE, Cluster
from e2e.skaffold import Skaffold

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

EDITED = "service/src/activity_indexer/app.py"
INDEXERS = "app.kubernetes.io/component=indexer"
INDEXER, OPERATOR = "deployment/activity-indexer", "deployment/activity-indexer-operator"


@pytest.fixture(scope="module")
def skaffold(dependencies: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Skaffold:
    """skaffold on a copy of the checkout, and a cluster that has nothing of ours but the dependencies."""
    if reason := missing_program("skaffold", "helm", "git"):
        pytest.skip(reason)
    cluster = dependencies.within(NAMESPACE)
    for folder in ("k8s/operator", "k8s/indexer", "k8s/loadgen"):
        cluster.kubectl("delete", "-k", folder, "--ignore-not-found", "--timeout=90s")
    without_crds(cluster)
    return Skaffold.on_copy(cluster, tmp_path_factory.mktemp("skaffold") / "checkout")


def entries(cluster: Cluster) -> list[dict[str, Any]]:
    """What the indexers that run now have logged as JSON; skaffold's restarts are no restarts of containers."""
    said = cluster.kubectl("logs", "-l", INDEXERS, "--tail=-1", "--max-log-requests=10").stdout
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def pods(cluster: Cluster) -> dict[str, int]:
    """Indexers that are ready, with how often their container was started again."""
    ready = cluster.ready_pods(INDEXERS)
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in cluster.get("pods", "-l", INDEXERS)["items"]
        if pod["metadata"]["name"] in ready
    }


def test_a_saved_file_runs_in_the_pods_that_are_there(skaffold: Skaffold) -> None:
    with skaffold.watching():
        before = eventually(lambda: pods(skaffold.cluster), "a ready indexer", timeout=240)
        file = skaffold.root / EDITED
        file.write_text(file.read_text().replace('info("app.started", ', 'info("app.started", edited=True, '))
        edited = eventually(lambda: [e for e in entries(skaffold.cluster) if e.get("edited")], "the edit", timeout=120)
        assert edited[0]["event"] == "app.started"
        assert "app.stopped" in {entry["event"] for entry in entries(skaffold.cluster)}, "the old one stopped cleanly"
        assert before.items() <= pods(skaffold.cluster).items()


def test_what_would_be_shipped_takes_its_place(skaffold: Skaffold) -> None:
    built = str(skaffold.root.with_suffix(".json"))
    skaffold("build", "--file-output", built, timeout=900)
    skaffold("run", "--profile=ci", timeout=900)
    skaffold.cluster.rolled_out(OPERATOR)
    skaffold.cluster.rolled_out(INDEXER)
    image = skaffold.cluster.get(INDEXER)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image in {each["tag"].split("@")[0] for each in json.loads(Path(built).read_text())["builds"]}


def test_the_smoke_test_publishes_and_finds(skaffold: Skaffold) -> None:
    built = str(skaffold.root.with_suffix(".json"))
    said = skaffold("verify", "--build-artifacts", built)
    assert "round-trip" in said


def test_it_is_removed_but_for_the_crds(skaffold: Skaffold) -> None:
    skaffold("delete")
    eventually(
        lambda: not skaffold.cluster.get("deployments", "-l", "app.kubernetes.io/part-of=activity-indexer")["items"],
        "the deployments go",
    )
    assert len(skaffold.cluster.get(*CRDS)["items"]) == 2
    skaffold.cluster.kubectl("delete", *CRDS, "--timeout=60s")
