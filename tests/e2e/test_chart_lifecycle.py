"""One `helm install` on a cluster that knows nothing of the product, and its life until nothing of it is left.

The tests are steps of one story, in the order in which they stand here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from e2e.chart import (
    CHART,
    CRDS,
    INDEXER,
    INDEXERS,
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
from e2e.commands import eventually, missing_program
from e2e.show import Show
from e2e.story import Story

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

TRANSACTIONS, DELETED, INVALID = 10_000, 500, 100
LATER = ("--count=6000", "--rate=60", "--users=100", "--user-id=later", "--update-ratio=0.2")
FOLLOWED_SECONDS, VISIBLE_SECONDS = 30, 15
LOADGEN = (
    f"--count={TRANSACTIONS}", "--users=200", "--update-ratio=0.2", "--delete-ratio=0.05", f"--partitions={PARTITIONS}",
    "--duplicate-ratio=0.05", "--late-ratio=0.05", "--invalid-ratio=0.01", "--verify", "--verify-timeout=600", "--json",
)  # fmt: skip


@pytest.fixture(scope="module")
def helm(shop: Story) -> Helm:
    """`helm` in the story's namespace."""
    return Helm(shop.cluster)


@pytest.fixture(scope="module")
def values_file(shop: Story, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the values, a load generator among them."""
    loadgen = {"enabled": True, "image": {"tag": "dev"}, "args": list(LOADGEN)}
    return write(values(shop) | {"loadgen": loadgen}, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def shop(begin: Callable[[str], Story]) -> Story:
    """A namespace on a cluster without our CRDs."""
    if reason := missing_program("helm"):
        pytest.skip(reason)
    story = begin("shop")
    without_crds(story.cluster)
    return story


def loadgen_job(story: Story) -> str:
    """The newest Job of the chart's load generator."""
    jobs = story.cluster.get("jobs", "-l", "app.kubernetes.io/component=loadgen")["items"]
    newest = max(jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]))
    return f"job/{newest['metadata']['name']}"


def test_one_install_gives_an_operator_an_indexer_and_a_load_generator(
    shop: Story, helm: Helm, values_file: str
) -> None:
    helm("install", "activity-indexer", CHART, "--values", values_file, "--wait", "--timeout", "8m")
    eventually(lambda: shop.condition(OURS) == "ReplicasAvailable", "the resource is ready", timeout=240)
    eventually(lambda: shop.replicas(INDEXER) == 3, "a replica for each partition", timeout=60)


def test_ten_thousand_transactions_become_what_they_must_be(shop: Story) -> None:
    result = shop.loaded(loadgen_job(shop))
    published = result["published"]
    assert (published["transactions"], published["deleted"]) == (TRANSACTIONS, DELETED)
    assert published["invalid"] == INVALID
    assert published["late"] > 0
    assert published["duplicate"] > 0
    assert result["verified"]["ok"] is True, result


def test_index_audit_dead_letters_and_status_agree(shop: Story) -> None:
    live = TRANSACTIONS - DELETED
    eventually(lambda: searched(shop, live), f"{live} documents, and all is well", interval=3)
    status = eventually(lambda: audited(shop, live), f"{live} rows in the audit", interval=3, timeout=300)
    assert status["elasticsearch"]["found"]["tombstones"] == DELETED
    assert status["deadLetters"]["found"]["total"] == INVALID
    assert shop.differences() == {}
    eventually(lambda: shop.depth(OURS) == INVALID, "the resource reports the dead letters", timeout=90)
    assert shop.condition(OURS, "DeadLetterEmpty") == "EventsWaiting"


def searched(story: Story, documents: int) -> bool:
    """Whether searches find this many documents. Raises ValueError with what is wrong, if anything is."""
    status = story.status()
    if status["problems"]:
        raise ValueError("; ".join(status["problems"]))
    return bool(status["elasticsearch"]["found"]["documents"] == documents)


def audited(story: Story, rows: int) -> dict[str, Any] | None:
    """The status, once the audit has as many live transactions."""
    status = story.status()
    return status if status["postgresql"]["found"]["transactions"]["rows"] == rows else None


def test_the_charts_own_test_makes_a_round_trip(helm: Helm) -> None:
    said = helm("test", "activity-indexer", "--logs", "--timeout", "8m")
    assert "Phase:          Succeeded" in said
    assert "POD LOGS: activity-indexer-round-trip" in said


def test_replicas_follow_a_growing_topic_under_load(shop: Story, shown: Show) -> None:
    shop.load("later", *LATER)
    before = shop.documents()
    eventually(lambda: shop.documents() > before + 50, "documents of the new load", timeout=180)
    shop.partitions(6)
    grown = time.monotonic()
    eventually(
        lambda: shop.replicas(INDEXER) == 6, "six replicas", timeout=FOLLOWED_SECONDS + VISIBLE_SECONDS, interval=0.5
    )
    shown.keep("growth.txt", f"replicas follow from 3 to 6 after {time.monotonic() - grown:.1f} s\n")
    eventually(lambda: len(shop.cluster.ready_pods(INDEXERS)) == 6, "six indexers are ready", timeout=300)


def test_an_upgrade_under_load_delivers_nothing_again_and_loses_nothing(
    shop: Story, helm: Helm, values_file: str, shown: Show
) -> None:
    old = set(shop.cluster.ready_pods(INDEXERS))
    helm(
        "upgrade", "activity-indexer", CHART, "--values", values_file, "--set", "config.CONSUMER_BATCH_SIZE=250",
        "--wait", "--timeout", "10m",
    )  # fmt: skip
    shop.cluster.rolled_out(INDEXER, 600)
    assert not old & set(shop.cluster.ready_pods(INDEXERS))
    assert shop.cluster.get("configmap/activity-indexer")["data"]["CONSUMER_BATCH_SIZE"] == "250"
    assert shop.loaded("job/later")["verified"]["ok"] is True
    assert shop.differences() == {}
    expected = records(shop)
    eventually(lambda: settled(shop) >= expected, f"{expected} settled events in the logs", timeout=60)
    shown.keep("redelivery.txt", f"{expected} events, {settled(shop) - expected} of them delivered again\n")
    assert settled(shop) == expected, "delivered again"


def test_the_resource_belongs_to_the_release_after_the_upgrade(shop: Story, helm: Helm) -> None:
    assert "kind: ActivityIndexer" in helm("get", "manifest", "activity-indexer")
    assert "helm.sh/hook" not in shop.cluster.get(OURS)["metadata"]["annotations"]


def test_what_users_see_of_it(shop: Story, shown: Show) -> None:
    see = shop.cluster.kubectl
    shown.keep("helm-get.txt", see("get", "aidx,deployments,pods", "-o", "wide").stdout)
    shown.keep("helm-describe.txt", see("describe", "aidx").stdout)
    events = see("get", "events", "--field-selector", "involvedObject.kind=ActivityIndexer", "--sort-by=.lastTimestamp")
    shown.keep("helm-events.txt", events.stdout)
    assert "Scaled" in events.stdout


def test_an_uninstall_leaves_the_crds_and_nothing_else(shop: Story, helm: Helm) -> None:
    helm("uninstall", "activity-indexer", "--wait", "--timeout", "3m")
    # The Job is the story's own; the pod of `helm test` stays, as docs/helm.md says.
    shop.cluster.kubectl("delete", "job/later", "pod/activity-indexer-round-trip")
    eventually(lambda: leftovers(shop) == [], "an empty namespace", timeout=120)
    assert shop.cluster.get("activityindexers,deadletterreplays")["items"] == []
    assert len(shop.cluster.get(*CRDS)["items"]) == 2


def test_the_crds_go_when_they_are_asked_to(shop: Story) -> None:
    shop.cluster.kubectl("delete", *CRDS, "--timeout=60s")
    assert shop.cluster.get(*CRDS)["items"] == []


def test_no_log_reports_an_error_that_is_not_expected(shop: Story) -> None:
    assert [f"{line.pod}: {line.text}" for line in shop.logs.unexpected()] == []
    assert shop.logs.lines("operator")
