"""An API server as far as an operator process asks: objects, patches, watches, and nothing of what controllers do."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from activity_indexer_operator.kube import resources
from activity_indexer_operator.kube.resources import Resource

Object = dict[str, Any]
Place = tuple[str, str, str]
"""Plural, namespace and name."""
# Kopf waits until it has heard of these two.
BACKBONE = (
    Resource("", "v1", "namespaces", "Namespace"),
    Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
)
OWN = tuple(kind for kind in vars(resources).values() if isinstance(kind, Resource))
KINDS = {(kind.group, kind.plural): kind for kind in (*BACKBONE, *OWN)}
VERBS = ["get", "list", "watch", "create", "patch", "delete", "update"]


class ApiServer:
    """Objects by place; `changed` wakes those who watch."""

    def __init__(self) -> None:
        self.objects: dict[Place, Object] = {}
        self.address = ""
        self._events: list[tuple[str, str, Object]] = []
        self._changed = asyncio.Event()

    def put(self, resource: Resource, namespace: str, name: str, **parts: Any) -> Object:
        """Makes an object, or changes parts of one."""
        known = self.objects.get((resource.plural, namespace, name))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta: Object = {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": now}
        meta |= (known or {}).get("metadata", {}) | parts.pop("metadata", {}) | {"namespace": namespace, "name": name}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **(known or {}), **parts, "metadata": meta}
        self.objects[resource.plural, namespace, name] = body
        self._tell("MODIFIED" if known else "ADDED", resource.plural, body)
        return body

    def of(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self.objects.get((resource.plural, namespace, name))

    def _tell(self, what: str, plural: str, body: Object) -> None:
        body["metadata"]["resourceVersion"] = str(len(self._events) + 1)
        self._events.append((what, plural, json.loads(json.dumps(body))))
        self._changed.set()
        self._changed = asyncio.Event()

    # What is asked.

    async def groups(self, _request: web.Request) -> web.Response:
        found = {
            kind.group: {"groupVersion": kind.api_version, "version": kind.version}
            for kind in KINDS.values()
            if kind.group
        }
        groups = [{"name": name, "versions": [told], "preferredVersion": told} for name, told in found.items()]
        return web.json_response({"kind": "APIGroupList", "groups": groups})

    async def kinds(self, request: web.Request) -> web.Response:
        group = request.match_info.get("group", "")
        told = [
            {
                "name": kind.plural,
                "singularName": "",
                "kind": kind.kind,
                "namespaced": kind in OWN,
                "verbs": VERBS,
            }
            for kind in KINDS.values()
            if kind.group == group
        ]
        return web.json_response({"kind": "APIResourceList", "resources": told})

    async def many(self, request: web.Request) -> web.StreamResponse:
        kind, namespace = self._asked(request)
        if request.method == "POST":
            return self._create(kind, namespace, await request.json())
        if request.query.get("watch"):
            return await self._watch(request, kind, namespace)
        wanted = dict(pair.split("=") for pair in request.query.get("labelSelector", "").split(",") if pair)
        items = [body for body in self._of(kind, namespace) if wanted.items() <= _labels(body).items()]
        version = str(len(self._events))
        return web.json_response({"kind": "List", "metadata": {"resourceVersion": version}, "items": items})

    async def one(self, request: web.Request) -> web.Response:
        kind, namespace = self._asked(request)
        name, subresource = request.match_info["name"], request.match_info.get("subresource", "")
        known = self.of(kind, namespace, name)
        if known is None and request.method != "PATCH":
            return _refused(404, f"{kind.plural} {name} not found")
        if request.method == "DELETE":
            body = self.objects.pop((kind.plural, namespace, name))
            self._tell("DELETED", kind.plural, body)
            return web.json_response(body)
        if request.method in ("PATCH", "PUT"):
            return self._change(kind, namespace, name, subresource, await request.json())
        return web.json_response(known)

    def _create(self, kind: Resource, namespace: str, body: Object) -> web.Response:
        name = body["metadata"]["name"]
        if self.of(kind, namespace, name):
            return _refused(409, f"{kind.plural} {name} already exists")
        return web.json_response(self.put(kind, namespace, name, **body), status=201)

    def _change(self, kind: Resource, namespace: str, name: str, subresource: str, body: Object) -> web.Response:
        known = self.of(kind, namespace, name) or {}
        if subresource == "status":
            status = {**known.get("status", {}), **body["status"]}
            told = [*known.get("status", {}).get("conditions", ()), *body["status"].get("conditions", ())]
            status["conditions"] = list({condition["type"]: condition for condition in told}.values())
            return web.json_response(self.put(kind, namespace, name, status=status))
        return web.json_response(self.put(kind, namespace, name, **body))

    async def _watch(self, request: web.Request, kind: Resource, namespace: str) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        # Versions count the events.
        seen = int(request.query.get("resourceVersion") or 0)
        while True:
            changed, news = self._changed, self._events[seen:]
            for what, plural, body in news:
                if plural == kind.plural and body["metadata"]["namespace"] == namespace:
                    await answer.write(json.dumps({"type": what, "object": body}).encode() + b"\n")
            seen += len(news)
            if not news:
                await changed.wait()

    def _of(self, kind: Resource, namespace: str) -> Iterable[Object]:
        return [
            body for (plural, place, _), body in self.objects.items() if (plural, place) == (kind.plural, namespace)
        ]

    @staticmethod
    def _asked(request: web.Request) -> tuple[Resource, str]:
        place = request.match_info
        return KINDS[place.get("group", ""), place["plural"]], place["namespace"]


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    """One on a free port of loopback, without TLS and without rights."""
    served = ApiServer()
    app = web.Application()
    app.router.add_get("/api", _versions)
    app.router.add_get("/apis", served.groups)
    for root in ("/api/v1", "/apis/{group}/{version}"):
        app.router.add_get(root, served.kinds)
        app.router.add_route("*", f"{root}/namespaces/{{namespace}}/{{plural}}", served.many)
        app.router.add_route("*", f"{root}/namespaces/{{namespace}}/{{plural}}/{{name}}", served.one)
        app.router.add_route("*", f"{root}/namespaces/{{namespace}}/{{plural}}/{{name}}/{{subresource}}", served.one)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    served.address = f"http://127.0.0.1:{server.port}"
    try:
        yield served
    finally:
        await server.close()


async def _versions(_request: web.Request) -> web.Response:
    return web.json_response({"kind": "APIVersions", "versions": ["v1"]})


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message}, status=status)


def _labels(body: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = body["metadata"].get("labels") or {}
    return labels


def kubeconfig(server: ApiServer) -> str:
    """What an operator finds it by, as a file's text."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server.address}}],
            "users": [{"name": "test", "user": {"token": "none"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
    )
