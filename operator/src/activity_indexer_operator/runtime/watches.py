"""Watches, by kopf: an event updates the cache and enqueues keys. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import kopf

from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.connection import login
from activity_indexer_operator.kube.objects import GROUP, Body, Key, controller_of
from activity_indexer_operator.kube.resources import Resource
from activity_indexer_operator.runtime.queue import Queue

WATCH_SECONDS: Final = 300
"""How long a watch lasts before it is opened again, so that a silent connection loses no event for longer."""
ERROR_BACKOFFS: Final = (1, 2, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Watch:
    """Objects of one kind, and which keys a change of one of them enqueues.

    `keep` makes a body small for the cache; with `ours` only objects that one of our kinds controls are looked at.
    """

    resource: Resource
    keys: Callable[[Body, ObjectCache], Iterable[Key]]
    keep: Callable[[Body], Body]
    ours: bool = True


def own_key(body: Body, _cache: ObjectCache) -> Iterable[Key]:
    """For objects that are reconciled themselves."""
    return [Key(body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])]


def owners_key(body: Body, _cache: ObjectCache) -> Iterable[Key]:
    """For objects that belong to one of ours."""
    owner = controller_of(body)
    return [Key(owner[0], body["metadata"]["namespace"], owner[1])] if owner else []


def registry_for(
    watches: Sequence[Watch],
    cache: ObjectCache,
    queue: Queue,
    start: Callable[[], Awaitable[None]],
    stop: Callable[[], Awaitable[None]],
) -> kopf.OperatorRegistry:
    """Handlers that feed the cache and the queue.

    Only `on.event` is used: it puts no finalizer on objects, so none of them ever waits for the operator to be deleted.
    """
    registry = kopf.OperatorRegistry()

    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        # Watching CRDs and namespaces would take rights on the whole cluster, and the CRDs are there.
        settings.scanning.disabled = True
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.client_timeout = WATCH_SECONDS + 30
        settings.networking.error_backoffs = ERROR_BACKOFFS
        await start()

    async def cleanup(**_: Any) -> None:
        await stop()

    kopf.on.login(registry=registry)(login)
    kopf.on.startup(registry=registry)(configure)
    kopf.on.cleanup(registry=registry)(cleanup)
    for number, watch in enumerate(watches):
        _register(registry, watch, number, cache, queue)
    return registry


def _register(registry: kopf.OperatorRegistry, watch: Watch, number: int, cache: ObjectCache, queue: Queue) -> None:
    resource = watch.resource

    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        # Objects of a list come without their kind.
        body: Body = {"apiVersion": resource.api_version, "kind": resource.kind, **event["object"]}
        if watch.ours and not _is_ours(body):
            return
        if event["type"] == "DELETED":
            cache.drop(resource, body["metadata"]["namespace"], body["metadata"]["name"])
        else:
            cache.put(resource, watch.keep(body))
        for key in watch.keys(body, cache):
            queue.enqueue(key)

    place = resource.group, resource.version, resource.plural
    # Several controllers may watch one kind: the watch is one, and each has its handler.
    kopf.on.event(*place, registry=registry, id=f"seen_{resource.plural}_{number}")(changed)


def _is_ours(body: Body) -> bool:
    if body["apiVersion"].startswith(f"{GROUP}/"):
        return True
    references = body["metadata"].get("ownerReferences", ())
    return any(r.get("controller") and r["apiVersion"].startswith(f"{GROUP}/") for r in references)
