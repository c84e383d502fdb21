"""The operator's client against a real API server: every question that it asks, and what it makes of refusals."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.cluster import DEPLOYMENT, SPEC, ClusterContract, body_of, name_of
from e2e.kind import Cluster

from activity_indexer_operator.kube.client import KubernetesCluster
from activity_indexer_operator.kube.connection import connect
from activity_indexer_operator.kube.ports import ClusterError, RejectedError
from activity_indexer_operator.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INDEXERS, SECRETS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NAMESPACE = "api-server"
TIMEOUT = 30.0


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Cluster]:
    """A namespace on a cluster that knows our kinds."""
    within = cluster.within(NAMESPACE)
    within.kubectl("apply", "-k", "k8s/crd")
    within.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/part-of=activity-indexer")
    within.kubectl("create", "namespace", NAMESPACE)
    try:
        yield within
    finally:
        within.kubectl("delete", "namespace", NAMESPACE, "--timeout=180s")


@pytest.fixture
def namespace(place: Cluster) -> str:
    return place.namespace


async def opened(kubeconfig: Path) -> AsyncIterator[KubernetesCluster]:
    client = KubernetesCluster(await connect(str(kubeconfig)), TIMEOUT)
    yield client
    await client.close()


@pytest.fixture
async def api(place: Cluster) -> AsyncIterator[KubernetesCluster]:
    """The operator's client, with the rights of the kubeconfig."""
    async for client in opened(place.kubeconfig):
        yield client


class TestApiServer(ClusterContract):
    """What the server of the unit tests keeps too."""


def with_token(place: Cluster, token: str, path: Path) -> Path:
    """The kubeconfig for a user who has nothing but a token."""
    body = yaml.safe_load(place.kubeconfig.read_text())
    for user in body["users"]:
        user["user"] = {"token": token}
    path.write_text(yaml.safe_dump(body))
    return path


async def test_what_a_manager_no_longer_claims_is_gone(api: KubernetesCluster, namespace: str) -> None:
    body = body_of(CONFIG_MAPS, namespace, data={"a": "1", "b": "2"})
    await api.apply(CONFIG_MAPS, body)
    less = await api.apply(CONFIG_MAPS, body | {"data": {"a": "1"}})
    assert less["data"] == {"a": "1"}


async def test_what_another_manager_claims_stays(api: KubernetesCluster, namespace: str) -> None:
    body = body_of(DEPLOYMENTS, namespace, spec=DEPLOYMENT)
    await api.apply(DEPLOYMENTS, body, "first")
    await api.apply(DEPLOYMENTS, body | {"spec": {"replicas": 2}}, "second")
    less = {field: value for field, value in DEPLOYMENT.items() if field != "replicas"}
    applied = await api.apply(DEPLOYMENTS, body | {"spec": less}, "first")
    assert applied["spec"]["replicas"] == 2


def refusals() -> list[tuple[str, dict[str, Any], str]]:
    """A change of the spec, and what the API server answers."""
    return [
        ("schema", {"scaling": {"policy": "Guess"}}, r'422 .*spec\.scaling\.policy: Unsupported value: "Guess"'),
        ("rule", {"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "422 .*minReplicas must not exceed maxReplicas"),
        ("type", {"scaling": {"minReplicas": "many"}}, "minReplicas.*(Invalid value|expected numeric)"),
        ("field", {"scalings": {}}, r"scalings: field not declared in schema"),
    ]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in refusals()], ids=[case[0] for case in refusals()])
@pytest.mark.parametrize("dry_run", [False, True], ids=["for good", "rehearsal"])
async def test_a_wrong_object_is_refused_with_the_servers_reason(
    api: KubernetesCluster, namespace: str, change: dict[str, Any], said: str, dry_run: bool
) -> None:
    body = body_of(INDEXERS, namespace, spec=copy.deepcopy(SPEC) | change)
    with pytest.raises(RejectedError, match=said):
        await api.apply(INDEXERS, body, dry_run=dry_run)
    assert await api.get(INDEXERS, namespace, name_of(body)) is None


async def test_a_quantity_that_cannot_be_read_is_the_objects_fault(api: KubernetesCluster, namespace: str) -> None:
    spec: dict[str, Any] = copy.deepcopy(DEPLOYMENT)
    spec["template"]["spec"]["containers"][0]["resources"] = {"limits": {"memory": "a lot"}}
    with pytest.raises(RejectedError, match="quantities must match"):
        await api.apply(DEPLOYMENTS, body_of(DEPLOYMENTS, namespace, spec=spec), dry_run=True)


async def test_nothing_is_written_into_a_namespace_that_is_not_there(api: KubernetesCluster) -> None:
    with pytest.raises(ClusterError):
        await api.create(CONFIG_MAPS, body_of(CONFIG_MAPS, "nowhere"))


async def test_what_a_service_account_may_not_do_is_refused_with_the_reason(place: Cluster, tmp_path: Path) -> None:
    token = place.kubectl("create", "token", "default").stdout.strip()
    async for client in opened(with_token(place, token, tmp_path / "kubeconfig")):
        with pytest.raises(
            RejectedError, match=r'403 secrets "x" is forbidden: User "system:serviceaccount:api-server'
        ):
            await client.get(SECRETS, NAMESPACE, "x")


async def test_a_token_that_is_none_is_an_error_that_passes(place: Cluster, tmp_path: Path) -> None:
    async for client in opened(with_token(place, "none", tmp_path / "kubeconfig")):
        with pytest.raises(ClusterError, match="401 Unauthorized") as caught:
            await client.list(CONFIG_MAPS, NAMESPACE)
        assert type(caught.value) is ClusterError
