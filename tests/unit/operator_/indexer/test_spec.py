"""What the operator takes as the spec of an ActivityIndexer, and what the CRD's patterns let through."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from activity_indexer.setting_values import kafka_name_problem
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.kube.objects import InvalidSpec, parsed_spec

CRD = Path(__file__).parents[4] / "k8s" / "crd" / "activityindexers.yaml"
NAMES = ["transactions", "a.b_c-D", "...", "..a", ".a", ".", "..", "my topic", "a,b", "tx*", "ünïcode", "a/b", ""]


def spec(topic: str = "x", **dead_letter: str) -> dict[str, Any]:
    return {
        "source": {"kafka": {"bootstrapServers": ["kafka:9092"], "topic": topic, "consumerGroup": "g"}},
        "workload": {"targetRef": {"name": "indexer"}},
        "deadLetter": dead_letter,
    }


@pytest.mark.parametrize(
    "value",
    [
        spec() | {"deadLetter": {"topic": "x"}},
        spec(parkingTopic="x"),
        spec(parkingTopic="x.dlq"),
        spec(topic="x.parked") | {"deadLetter": {"topic": "x"}},
    ],
)
def test_a_topic_has_one_use(value: dict[str, Any]) -> None:
    found = parsed_spec({"spec": value}, Spec)
    assert isinstance(found, InvalidSpec)
    assert "must be three different topics" in str(found)


def test_names_that_follow_from_the_topic_are_different() -> None:
    assert isinstance(parsed_spec({"spec": spec()}, Spec), Spec)


@pytest.mark.parametrize("name", NAMES)
def test_the_crd_takes_the_names_that_the_indexer_takes(name: str) -> None:
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    for pattern in (
        fields["source"]["properties"]["kafka"]["properties"]["topic"]["pattern"],
        fields["deadLetter"]["properties"]["topic"]["pattern"],
        fields["deadLetter"]["properties"]["parkingTopic"]["pattern"],
    ):
        assert bool(re.fullmatch(pattern, name)) is not bool(kafka_name_problem(name))
