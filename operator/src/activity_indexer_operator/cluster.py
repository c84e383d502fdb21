"""The Kubernetes API, as far as the operator uses it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
from kubernetes import client, config
from urllib3.exceptions import HTTPError

from activity_indexer_operator.api import GROUP, PLURAL, VERSION, ActivityIndexer, Key, Status, parse
from activity_indexer_operator.decide import Number, Unknown
from activity_indexer_operator.ports import ClusterError

NOT_FOUND = 404


class KubernetesCluster:
    """Calls run in threads: the client is a synchronous one. `timeout` limits each, in seconds."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._objects = client.CustomObjectsApi()
        self._apps = client.AppsV1Api()

    @classmethod
    def connected(cls, timeout: float) -> KubernetesCluster:
        """With the pod's service account, or with the user's kubeconfig outside a cluster."""
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            config.load_kube_config()  # type: ignore[no-untyped-call]
        return cls(timeout)

    async def read(self, key: Key) -> ActivityIndexer | None:
        """The object as it is now; None when it is gone."""
        body = await self._call(
            f"read {PLURAL} {key}",
            self._objects.get_namespaced_custom_object,
            GROUP, VERSION, key.namespace, PLURAL, key.name,
        )  # fmt: skip
        return None if body is None else parse(body)

    async def replicas(self, namespace: str, deployment: str) -> Number:
        """Replicas a Deployment is to have; Unknown when it does not exist."""
        what = f"Deployment {namespace}/{deployment}"
        scale = await self._call(f"read {what}", self._apps.read_namespaced_deployment_scale, deployment, namespace)
        if scale is None:
            return Unknown("TargetNotFound", f"there is no {what}")
        return int(scale["spec"].get("replicas", 0))

    async def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Sets them, by the scale subresource."""
        await self._call(
            f"scale Deployment {namespace}/{deployment}",
            self._apps.patch_namespaced_deployment_scale,
            deployment, namespace, {"spec": {"replicas": replicas}},
        )  # fmt: skip

    async def save_status(self, key: Key, status: Status) -> None:
        """Replaces the object's status; what the last one had and this one has not is removed."""
        known = dict.fromkeys(field.encode_name for field in msgspec.structs.fields(Status))
        await self._call(
            f"save the status of {PLURAL} {key}",
            self._objects.patch_namespaced_custom_object_status,
            GROUP, VERSION, key.namespace, PLURAL, key.name, {"status": known | msgspec.to_builtins(status)},
        )  # fmt: skip

    async def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> dict[str, Any] | None:
        """The answer as JSON; None when there is no such object."""
        try:
            answer = await asyncio.to_thread(
                function, *arguments, _preload_content=False, _request_timeout=self._timeout
            )
        except client.ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise ClusterError(f"cannot {what}: {error.status} {error.reason}") from error
        except (HTTPError, OSError) as error:
            raise ClusterError(f"cannot {what}: {error}") from error
        body: dict[str, Any] = json.loads(answer.data)
        return body
