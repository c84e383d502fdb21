"""The client of the API server, against a server that notes what it is asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from activity_indexer_operator.kube.client import KubernetesCluster
from activity_indexer_operator.kube.ports import ClusterError, ConflictError, RejectedError
from activity_indexer_operator.kube.resources import CONFIG_MAPS, DEPLOYMENTS, INDEXERS, LEASES

BODY = {"metadata": {"namespace": "a", "name": "x"}}


class Asked:
    """What a request was, and what is answered to it."""

    def __init__(self) -> None:
        self.status, self.answer = 200, {"kind": "Any"}
        self.requests: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.delay = 0.0

    async def answered(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        kind = request.headers["Content-Type"]
        self.requests.append((request.method, request.path, dict(request.query), kind, body))
        self.headers.append(dict(request.headers))
        await asyncio.sleep(self.delay)
        return web.json_response(self.answer, status=self.status)


@asynccontextmanager
async def serving(asked: Asked) -> AsyncIterator[tuple[KubernetesCluster, list[str]]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", asked.answered)
    heard: list[str] = []
    async with TestServer(app) as server:
        configuration = Configuration(str(server.make_url("")).rstrip("/"), api_key={"BearerToken": "Bearer t"})
        cluster = KubernetesCluster(configuration, 0.5, lambda verb, resource: heard.append(f"{verb} {resource}"))
        try:
            yield cluster, heard
        finally:
            await cluster.close()


async def test_paths_verbs_and_forms_are_those_of_the_api() -> None:
    asked = Asked()
    async with serving(asked) as (cluster, heard):
        await cluster.get(CONFIG_MAPS, "a", "x")
        await cluster.apply(DEPLOYMENTS, BODY)
        await cluster.apply(DEPLOYMENTS, BODY, dry_run=True)
        await cluster.apply_status(INDEXERS, "a", "x", {"replicas": 1}, "me")
        await cluster.scale(DEPLOYMENTS, "a", "x", 3)
        await cluster.replace(LEASES, BODY)
        await cluster.create(LEASES, BODY)
        await cluster.delete(DEPLOYMENTS, "a", "x", "uid-1")
    deployment = "/apis/apps/v1/namespaces/a/deployments/x"
    assert [(method, path) for method, path, *_ in asked.requests] == [
        ("GET", "/api/v1/namespaces/a/configmaps/x"),
        ("PATCH", deployment),
        ("PATCH", deployment),
        ("PATCH", "/apis/activityindexer.io/v1alpha1/namespaces/a/activityindexers/x/status"),
        ("PATCH", f"{deployment}/scale"),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/x"),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/a/leases"),
        ("DELETE", deployment),
    ]
    assert asked.requests[1][2] == {"fieldManager": "activity-indexer-operator", "force": "true"}
    assert asked.requests[2][2]["dryRun"] == "All"
    assert asked.requests[3][3] == "application/apply-patch+yaml"
    assert asked.requests[-1][4]["preconditions"] == {"uid": "uid-1"}
    assert heard == [
        "get configmaps", "patch apps/deployments", "patch apps/deployments",
        "patch activityindexer.io/activityindexers/status", "patch apps/deployments/scale",
        "update coordination.k8s.io/leases", "create coordination.k8s.io/leases", "delete apps/deployments",
    ]  # fmt: skip


async def test_objects_of_a_list_have_their_kind() -> None:
    asked = Asked()
    asked.answer = {"items": [{"metadata": {"name": "x"}}]}
    async with serving(asked) as (cluster, _):
        [item] = await cluster.list(DEPLOYMENTS, "", "app=x")
    assert (item["kind"], item["apiVersion"]) == ("Deployment", "apps/v1")
    assert asked.requests[0][1:3] == ("/apis/apps/v1/deployments", {"labelSelector": "app=x"})


@pytest.mark.parametrize(
    ("status", "error"), [(409, ConflictError), (422, RejectedError), (403, RejectedError), (503, ClusterError)]
)
async def test_a_refusal_says_what_was_asked_and_why(status: int, error: type[Exception]) -> None:
    asked = Asked()
    asked.status, asked.answer = status, {"kind": "Status", "message": "replicas: Invalid value"}
    async with serving(asked) as (cluster, _):
        with pytest.raises(error, match=f"cannot patch /apis/apps.*: {status} replicas: Invalid value") as caught:
            await cluster.apply(DEPLOYMENTS, BODY)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "message",
    [
        "failed to convert new object (a/x; apps/v1, Kind=Deployment) to proper version: quantities must match ...",
        "failed to create typed patch object (a/x; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema",
    ],
)
async def test_an_object_that_the_api_server_cannot_read_is_wrong_though_it_says_500(message: str) -> None:
    asked = Asked()
    asked.status, asked.answer = 500, {"kind": "Status", "message": message}
    async with serving(asked) as (cluster, _):
        with pytest.raises(RejectedError):
            await cluster.apply(DEPLOYMENTS, BODY)


async def test_what_is_not_there_is_an_answer() -> None:
    asked = Asked()
    asked.status = 404
    async with serving(asked) as (cluster, _):
        assert await cluster.get(DEPLOYMENTS, "a", "x") is None
        assert await cluster.scale(DEPLOYMENTS, "a", "x", 3) is False
        assert await cluster.apply_status(INDEXERS, "a", "x", {}, "me") is None
        await cluster.delete(DEPLOYMENTS, "a", "x", "uid-1")
        with pytest.raises(ClusterError, match="are the CRDs installed"):
            await cluster.create(INDEXERS, BODY)


async def test_a_server_that_is_unavailable_is_an_error_of_the_cluster() -> None:
    cluster = KubernetesCluster(Configuration("http://127.0.0.1:1"), 1.0)
    with pytest.raises(ClusterError, match=r"cannot get /apis.*Connect call failed"):
        await cluster.get(DEPLOYMENTS, "a", "x")
    await cluster.close()
    await cluster.close()


async def test_an_answer_that_does_not_come_is_waited_for_as_long_as_is_set() -> None:
    asked = Asked()
    asked.delay = 30.0
    async with serving(asked) as (cluster, _):
        with pytest.raises(ClusterError, match=r"cannot get /apis.*: no answer within 0\.5 s"):
            await cluster.get(DEPLOYMENTS, "a", "x")


async def test_a_request_that_is_not_waited_for_any_longer_is_given_up_at_once() -> None:
    asked = Asked()
    asked.delay = 30.0
    async with serving(asked) as (cluster, _):
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cluster.get(DEPLOYMENTS, "a", "x"), 0.05)
        assert time.monotonic() - begun < 0.4


async def test_an_answer_that_is_none_of_the_api_is_an_error_of_the_cluster() -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in</html>")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with TestServer(app) as server:
        cluster = KubernetesCluster(Configuration(str(server.make_url("")).rstrip("/")), 1.0)
        with pytest.raises(ClusterError, match="expected JSON, got '<html>Sign in"):
            await cluster.get(DEPLOYMENTS, "a", "x")
        await cluster.close()


async def test_requests_carry_the_token_and_a_name() -> None:
    asked = Asked()
    async with serving(asked) as (cluster, _):
        await cluster.get(DEPLOYMENTS, "a", "x")
    assert asked.headers[0]["Authorization"] == "Bearer t"
    assert asked.headers[0]["User-Agent"] == "activity-indexer-operator"
