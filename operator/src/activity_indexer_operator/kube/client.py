"""The Kubernetes API through the `kubernetes` client, as far as the operator uses it.

Objects stay what they are on the wire: the client's models know neither our kinds nor the fields of a newer API server,
and would drop what they do not know.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException

from activity_indexer_operator.kube.connection import TOKEN
from activity_indexer_operator.kube.objects import MANAGER, Body
from activity_indexer_operator.kube.ports import ClusterError, ConflictError, RejectedError
from activity_indexer_operator.kube.resources import Resource

MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
JSON: Final = "application/json"
CONNECTIONS_MAX: Final = 16
_REJECTED: Final = frozenset({400, 403, 405, 422})
_UNREADABLE: Final = ("failed to convert new object", "failed to create typed patch object")


class KubernetesCluster:
    """`timeout` (seconds) limits each request; `on_request` gets the verb and "group/resource/subresource" of each."""

    def __init__(
        self,
        configuration: Configuration,
        timeout: float,
        on_request: Callable[[str, str], None] = lambda _verb, _resource: None,
    ) -> None:
        configuration.connection_pool_maxsize = CONNECTIONS_MAX
        self._client = ApiClient(configuration)
        self._client.user_agent = MANAGER
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._on_request = on_request

    async def close(self) -> None:
        """Closes connections. May be called twice."""
        await self._client.close()

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

    async def replace(self, resource: Resource, body: Body) -> Body:
        """See ports.Cluster."""
        meta = body["metadata"]
        answer = await self._ask("update", "PUT", resource, meta["namespace"], meta["name"], body=body)
        if answer is None:
            raise ConflictError(f"cannot update {resource.plural} {meta['namespace']}/{meta['name']}: it is gone")
        return answer

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
        self._on_request(verb, "/".join(part for part in (resource.group, resource.plural, subresource) if part))
        try:
            status, content = await self._answer(method, path, body, query, form)
        except TimeoutError as error:
            raise ClusterError(f"cannot {verb} {path}: no answer within {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError, ConfigException) as error:
            raise ClusterError(f"cannot {verb} {path}: {type(error).__name__}: {error}") from error
        return _answered(f"{verb} {path}", status, content)

    async def _answer(
        self, method: str, path: str, body: Body | None, query: dict[str, str] | None, form: str
    ) -> tuple[int, bytes]:
        request = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Content-Type": form, "Accept": JSON},
            body=body,
            auth_settings=[TOKEN],
        )
        answer = await self._client.call_api(*request, _request_timeout=self._timeout)
        return answer.status, await answer.read()


def _answered(what: str, status: int, content: bytes) -> Body | None:
    """The object in an answer; None when there is none. Raises ClusterError."""
    shown = content[:200].decode("utf-8", "replace")
    if status < HTTPStatus.MULTIPLE_CHOICES:
        try:
            body: Body = msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise ClusterError(f"cannot {what}: expected JSON, got {shown!r}") from error
        return body
    if status == HTTPStatus.NOT_FOUND:
        # A missing namespace or kind is found when something is written; a missing object is an answer.
        return None
    try:
        reason = str(msgspec.json.decode(content)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        reason = shown
    text = f"cannot {what}: {status} {reason}"
    if status == HTTPStatus.CONFLICT:
        raise ConflictError(text)
    # Server-side apply answers 500 to an object that it cannot read.
    rejected = status in _REJECTED or any(mark in reason for mark in _UNREADABLE)
    raise RejectedError(text) if rejected else ClusterError(text)


def _there(answer: Body | None) -> Body:
    if answer is None:
        raise ClusterError("the API server knows no such kind or namespace; are the CRDs installed?")
    return answer
