"""The indexer's pod is the same wherever it comes from: the chart, the operator, and the raw manifests of k8s/indexer.

What differs on purpose is in DIFFERENCES; a difference that is not there is drift, and so is an entry that is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import yaml
from rendering import ROOT, needs, objects, template

from activity_indexer_operator.indexer.objects.manifests import manifests
from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.kube.objects import Key, Meta, parsed_spec

pytestmark = needs("helm")

NAME: Final = "activity-indexer"
SPEC: Final = {
    "source": {"kafka": {"bootstrapServers": ["kafka:9093"], "topic": "transactions", "consumerGroup": "g"}},
    "workload": {"template": {"elasticsearch": {"url": "http://elasticsearch:9200"}}},
}
IDENTITY: Final = "{}.app.kubernetes.io/instance"
IN_PODS: Final = "template.metadata.annotations"
DIFFERENCES: Final = {
    "Deployment": {
        "replicas": "the operator scales by the subresource alone",
        IDENTITY.format("selector.matchLabels"): "a selector cannot be changed; k8s/ has one indexer and no instance",
        IDENTITY.format("template.metadata.labels"): "as the selector",
        IDENTITY.format("template.spec.topologySpreadConstraints[0].labelSelector.matchLabels"): "as the selector",
        "template.metadata.labels.app.kubernetes.io/managed-by": "the chart puts it on objects, not on pods",
        f"{IN_PODS}.activityindexer.io/config-hash": "the operator's way to roll pods when settings change",
        f"{IN_PODS}.checksum/config": "the chart's way; with k8s/ a person restarts them",
        "template.spec.containers[indexer].envFrom[1].secretRef.name": "k8s/ has its passwords in a Secret beside it",
        "template.spec.serviceAccountName": "k8s/ uses the namespace's own; no token is mounted anyway",
    },
    "PodDisruptionBudget": {IDENTITY.format("selector.matchLabels"): "as the selector"},
    "Service": {
        IDENTITY.format("selector"): "as the selector",
        "clusterIP": "an address cannot be taken from a Service that has one",
        "publishNotReadyAddresses": "goes with a Service that has no address",
    },
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value with its path; items of lists go by their names, what is empty is left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from leaves(item, f"{path}[{item.get('name', at) if isinstance(item, dict) else at}]")
    else:
        yield path, value


@cache
def sources(kind: str) -> tuple[dict[str, Any], ...]:
    """The spec of this kind from chart, operator and raw manifests, as leaves."""
    values = f"fullnameOverride={NAME},image.tag=dev,operator.enabled=false,activityIndexer.enabled=false"
    [from_chart] = objects(template("activity-indexer", "--set", values), kind)
    spec = parsed_spec({"spec": SPEC}, Spec)
    assert isinstance(spec, Spec)
    assert spec.workload.template
    meta = Meta(Key("ActivityIndexer", "demo", NAME), "uid", 1, {}, deleted=False)
    made = manifests(meta, spec, spec.workload.template, "activity-indexer:dev")
    [from_operator] = [each.body for each in made if each.body["kind"] == kind]
    raw = (yaml.safe_load(path.read_text()) for path in (ROOT / "k8s" / "indexer").glob("*.yaml"))
    [from_manifests] = [body for body in raw if body["kind"] == kind]
    return tuple(dict(leaves(body["spec"])) for body in (from_chart, from_operator, from_manifests))


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_chart_operator_and_raw_manifests_agree(kind: str) -> None:
    found = sources(kind)
    paths = {path for each in found for path in each}
    differing = {path: [each.get(path) for each in found] for path in paths}
    differing = {path: values for path, values in differing.items() if any(value != values[0] for value in values)}
    assert {path: values for path, values in differing.items() if path not in DIFFERENCES[kind]} == {}
    assert set(DIFFERENCES[kind]) - set(differing) == set(), "this is no difference any more"
