"""The budget and its parts, and the limits of containers that follow from it."""

from pathlib import Path

import pytest
import yaml
from fixtures.records import Reported

from activity_indexer.memory import BASE, COPIES, DEFAULT_BUDGET, MEBIBYTE, SMALLEST_BUDGET, MemoryShares, record_bytes
from activity_indexer_operator.indexer.objects import pod as generate_pod

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("budget", [SMALLEST_BUDGET, DEFAULT_BUDGET, 8 * 1024 * MEBIBYTE])
def test_the_parts_are_the_whole(budget: int) -> None:
    shares = MemoryShares(budget)
    intake = shares.intake + COPIES * shares.poll
    audit = 2 * shares.audit + 5 * shares.audit_statement
    fetched = 2 * 2 * shares.fetch
    assert intake + audit + fetched <= budget
    assert shares.intake > budget // 3, "most of it is for what is under way"


@pytest.mark.parametrize("partitions", [0, 1, 8, 100, 10_000])
def test_what_is_fetched_of_each_partition_is_kept_within_the_share_of_all(partitions: int) -> None:
    shares = MemoryShares()
    each = shares.fetch_of_each(partitions)
    assert 16 * 1024 <= each <= MEBIBYTE
    assert each * partitions <= shares.fetch or each == 16 * 1024


def test_the_bytes_of_a_record_are_all_of_its_bytes() -> None:
    assert record_bytes(Reported(b"12345", key=b"678", headers=[("h", b"9")])) == 10
    assert record_bytes(Reported(None, key=None)) == 0


def test_the_operator_knows_the_same_budget() -> None:
    assert (generate_pod.DEFAULT_BUDGET, generate_pod.BESIDE_BUDGET) == (DEFAULT_BUDGET, BASE)


def test_the_manifests_limit_is_the_budget_and_the_base() -> None:
    pod = yaml.safe_load((ROOT / "k8s/indexer/deployment.yaml").read_text())["spec"]["template"]["spec"]
    limit = pod["containers"][0]["resources"]["limits"]["memory"]
    assert limit == f"{(DEFAULT_BUDGET + BASE) // MEBIBYTE}Mi"
