"""The Kubernetes API over HTTP, as far as the operator uses it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from activity_indexer_operator.api import MANAGER, Body
from activity_indexer_operator.connection import Connection
from activity_indexer_operator.ports import ClusterError, ConflictError, RejectedError
from activity_indexer_operator.resources import Resource

MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
JSON: Final = "application/json"
_REJECTED: Final = frozenset({400, 403, 405, 422})
_UNREADABLE: Final = ("failed to convert new object", "failed to create typed patch object")


def _unheard(_verb: str, _resource: str) -> None:
    """Nobody listens."""


class HttpCluster:
    """`timeout` limits each request, in seconds; `heard` is told verb and "group/resource/subresource" of each."""

    def __init__(self, connection: Connection, timeout: float, heard: Callable[[str, str], None] = _unheard) -> None:
        self._connection = connection
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._heard = heard
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes connections. May be called twice."""
        if self._session:
            await self._session.close()
            self._session = None

    async def get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        """See ports.Cluster."""
        return await self._ask("get", "GET", resource, namespace, name)

    async def list(self, resource: Resource, namespace: str, labels: str = "") -> list[Body]:
        """See ports.Cluster."""
        query = {"labelSelector": labels} if labels else {}
        answer = await self._ask("list", "GET", resource, namespace, query=query) or {}
        marks = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [marks | item for item in answer.get("items", ())]

    async def create(self, resource: Resource, body: Body) -> Body:
        """See ports.Cluster."""
        namespace = body["metadata"]["namespace"]
        query = {"fieldManager": MANAGER}
        return _there(await self._ask("create", "POST", resource, namespace, body=body, query=query))

    async def apply(self, resource: Resource, body: Body, manager: str = MANAGER, *, dry_run: bool = False) -> Body:
        """See ports.Cluster."""
        meta = body["metadata"]
        query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        place = meta["namespace"], meta["name"]
        return _there(await self._ask("patch", "PATCH", resource, *place, body=body, query=query, form=APPLY))

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Body) -> Body | None:
        """See ports.Cluster."""
        query = {"fieldManager": MANAGER}
        return await self._ask("patch", "PATCH", resource, namespace, name, body=patch, query=query, form=MERGE)

    async def replace(self, resource: Resource, body: Body) -> Body:
        """See ports.Cluster."""
        meta = body["metadata"]
        answer = await self._ask("update", "PUT", resource, meta["namespace"], meta["name"], body=body)
        if answer is None:
            raise ConflictError(f"cannot update {resource.plural} {meta['namespace']}/{meta['name']}: it is gone")
        return answer

    async def patch_status(self, resource: Resource, namespace: str, name: str, status: dict[str, Any]) -> Body | None:
        """See ports.Cluster."""
        patch = {"status": status}
        return await self._ask("patch", "PATCH", resource, namespace, name, "status", body=patch, form=MERGE)

    async def apply_status(
        self, resource: Resource, namespace: str, name: str, status: dict[str, Any], manager: str
    ) -> Body | None:
        """See ports.Cluster."""
        marks = {"apiVersion": resource.api_version, "kind": resource.kind}
        body = marks | {"metadata": {"name": name, "namespace": namespace}, "status": status}
        query = {"fieldManager": manager, "force": "true"}
        return await self._ask(
            "patch", "PATCH", resource, namespace, name, "status", body=body, query=query, form=APPLY
        )

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> bool:
        """See ports.Cluster."""
        patch = {"spec": {"replicas": replicas}}
        query = {"fieldManager": f"{MANAGER}-scale"}
        answer = await self._ask(
            "patch", "PATCH", resource, namespace, name, "scale", body=patch, query=query, form=MERGE
        )
        return answer is not None

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """See ports.Cluster."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        await self._ask("delete", "DELETE", resource, namespace, name, body=body)

    async def _ask(
        self,
        verb: str,
        method: str,
        resource: Resource,
        namespace: str,
        name: str = "",
        subresource: str = "",
        *,
        body: Body | None = None,
        query: dict[str, str] | None = None,
        form: str = JSON,
    ) -> Body | None:
        """The answer's JSON; None when there is no such object."""
        path = resource.path(namespace, name, subresource)
        self._heard(verb, "/".join(part for part in (resource.group, resource.plural, subresource) if part))
        headers = self._connection.authorization() | {"Content-Type": form, "Accept": JSON}
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._opened().request(method, path, params=query, data=data, headers=headers) as answer:
                return _answered(f"{verb} {path}", answer.status, await answer.read())
        except TimeoutError as error:
            raise ClusterError(f"cannot {verb} {path}: no answer within {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterError(f"cannot {verb} {path}: {type(error).__name__}: {error}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls: Any = self._connection.tls if self._connection.tls is not None else True
            connector = aiohttp.TCPConnector(ssl=tls, limit=16, keepalive_timeout=75)
            self._session = aiohttp.ClientSession(
                self._connection.server, connector=connector, timeout=self._timeout, trust_env=False
            )
        return self._session


def _answered(what: str, status: int, content: bytes) -> Body | None:
    if status < HTTPStatus.MULTIPLE_CHOICES:
        body: Body = msgspec.json.decode(content)
        return body
    reason = _message(content)
    if status == HTTPStatus.NOT_FOUND:
        # A namespace or kind that is not there can be written to by nobody; an object that is not there is an answer.
        return None
    text = f"cannot {what}: {status} {reason}"
    if status == HTTPStatus.CONFLICT:
        raise ConflictError(text)
    # Server-side apply answers 500 to an object that it cannot read.
    rejected = status in _REJECTED or any(mark in reason for mark in _UNREADABLE)
    raise RejectedError(text) if rejected else ClusterError(text)


def _message(content: bytes) -> str:
    try:
        return str(msgspec.json.decode(content)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return content[:200].decode("utf-8", "replace")


def _there(answer: Body | None) -> Body:
    if answer is None:
        raise ClusterError("the API server knows no such kind or namespace; are the CRDs installed?")
    return answer
