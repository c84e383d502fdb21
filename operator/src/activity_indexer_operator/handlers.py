"""Kopf's part: it watches, and an event marks an object as due. Nothing is decided here."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf

from activity_indexer_operator.api import GROUP, PLURAL, VERSION, Key
from activity_indexer_operator.worker import Worker


def registry_for(worker: Worker, stall_timeout: float) -> kopf.OperatorRegistry:
    """Handlers that feed the worker, and run it while the operator runs.

    Only `on.event` is used: it puts no finalizer on objects, so none of them ever waits for the operator to be deleted.
    """
    registry = kopf.OperatorRegistry()
    tasks: list[asyncio.Task[None]] = []

    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        # Watching CRDs and namespaces would take rights on the whole cluster, and the one CRD is there.
        settings.scanning.disabled = True
        settings.watching.server_timeout = 300
        settings.networking.error_backoffs = (1, 2, 5, 10, 30)
        tasks.append(asyncio.create_task(worker.run(), name="worker"))

    async def stop(**_: Any) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def watch(event: kopf.RawEvent, **_: Any) -> None:
        meta = event["object"]["metadata"]
        key = Key(meta["namespace"], meta["name"])
        if event["type"] == "DELETED":
            worker.gone(key)
        else:
            worker.seen(key, int(str(meta.get("generation", 0))))

    async def probe(**_: Any) -> float:
        if worker.idle_seconds > stall_timeout or any(task.done() for task in tasks):
            raise kopf.PermanentError(f"no round of work for {worker.idle_seconds:.0f} s")
        return worker.idle_seconds

    async def login(**given: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)

    kopf.on.login(registry=registry)(login)
    kopf.on.startup(registry=registry)(start)
    kopf.on.cleanup(registry=registry)(stop)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(watch)
    kopf.on.probe(registry=registry, id="idle_seconds")(probe)
    return registry
