"""The controller of DeadLetterReplays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Body, Key, controller_of, without_managed_fields
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS
from activity_indexer_operator.replay.metrics import ReplayCounters
from activity_indexer_operator.replay.reconciler import ReplayReconciler, Retained
from activity_indexer_operator.runtime.controller import Controller, ControllerContext
from activity_indexer_operator.runtime.watches import Watch, own_key

_WAITING: Final = ("Pending", None)


def replay_controller(context: ControllerContext, retained: Retained) -> Controller:
    """DeadLetterReplays, their Jobs, and what they may wait for."""
    reconciler = ReplayReconciler(context, ReplayCounters(context.metrics.registry), retained)
    return Controller(
        REPLAYS.kind,
        reconciler.reconcile,
        (
            Watch(REPLAYS, replay_keys, without_managed_fields),
            Watch(JOBS, job_keys, without_managed_fields),
            Watch(INDEXERS, indexer_keys, without_managed_fields),
        ),
    )


def replay_keys(body: Body, cache: ObjectCache) -> Iterator[Key]:
    """The replay itself, and those that may wait for it."""
    yield from own_key(body, cache)
    if body.get("status", {}).get("completionTime") or "deletionTimestamp" in body["metadata"]:
        yield from _waiting(cache, body["metadata"]["namespace"], indexer_of(body))


def job_keys(body: Body, cache: ObjectCache) -> Iterator[Key]:
    """The replay that the Job belongs to; or, where it purges, the replays that wait for it."""
    owner, namespace = controller_of(body), body["metadata"]["namespace"]
    if owner and owner[0] == REPLAYS.kind:
        yield Key(REPLAYS.kind, namespace, owner[1])
    elif owner and owner[0] == INDEXERS.kind:
        yield from _waiting(cache, namespace, owner[1])


def indexer_keys(body: Body, cache: ObjectCache) -> Iterator[Key]:
    """The replays that may wait for the indexer."""
    yield from _waiting(cache, body["metadata"]["namespace"], body["metadata"]["name"])


def indexer_of(body: Body) -> str:
    """The indexer that a DeadLetterReplay names; "" where it names none."""
    return str(body.get("spec", {}).get("indexerRef", {}).get("name", ""))


def _waiting(cache: ObjectCache, namespace: str, indexer: str) -> Iterator[Key]:
    for body in cache.all(REPLAYS, namespace):
        if indexer_of(body) == indexer and body.get("status", {}).get("phase") in _WAITING:
            yield Key(REPLAYS.kind, namespace, body["metadata"]["name"])
