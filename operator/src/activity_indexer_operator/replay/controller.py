"""The operator's part for replays and for what indexers want done by time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from activity_indexer_operator.kube.cache import Seen
from activity_indexer_operator.kube.objects import Body, Key, controller_of
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS
from activity_indexer_operator.replay.reconciler import Locks, ReplayReconciler
from activity_indexer_operator.runtime.controller import Part, Tools
from activity_indexer_operator.runtime.watches import Watch, own_key, without_managed_fields
from activity_indexer_operator.tasks.reconciler import TASKS, TaskReconciler

_WAITING: Final = ("Pending", None)


def replay_part(tools: Tools) -> Part:
    """Reconcilers of DeadLetterReplays and of indexers' tasks, which share a lock per indexer."""
    locks = Locks()
    return Part(
        reconcilers={
            REPLAYS.kind: ReplayReconciler(tools, locks).reconcile,
            TASKS: TaskReconciler(tools, locks).reconcile,
        },
        watches=(
            Watch(REPLAYS, replay_keys, without_managed_fields),
            Watch(JOBS, job_keys, without_managed_fields),
            Watch(INDEXERS, indexer_keys, without_managed_fields),
        ),
    )


def replay_keys(body: Body, seen: Seen) -> Iterator[Key]:
    """The replay itself, its indexer's tasks, and those that may wait for it."""
    yield from own_key(body, seen)
    namespace, indexer = body["metadata"]["namespace"], _indexer(body)
    yield Key(TASKS, namespace, indexer)
    if body.get("status", {}).get("completionTime") or "deletionTimestamp" in body["metadata"]:
        yield from _waiting(seen, namespace, indexer)


def job_keys(body: Body, seen: Seen) -> Iterator[Key]:
    """The replay that made it; or, where it purges, its indexer's tasks and the replays that wait for it."""
    owner, namespace = controller_of(body), body["metadata"]["namespace"]
    if owner and owner[0] == REPLAYS.kind:
        yield Key(REPLAYS.kind, namespace, owner[1])
    elif owner and owner[0] == INDEXERS.kind:
        yield Key(TASKS, namespace, owner[1])
        yield from _waiting(seen, namespace, owner[1])


def indexer_keys(body: Body, seen: Seen) -> Iterable[Key]:
    """Its tasks, and the replays that may wait for it."""
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    return [Key(TASKS, namespace, name), *_waiting(seen, namespace, name)]


def _waiting(seen: Seen, namespace: str, indexer: str) -> Iterator[Key]:
    for body in seen.all(REPLAYS, namespace):
        if _indexer(body) == indexer and body.get("status", {}).get("phase") in _WAITING:
            yield Key(REPLAYS.kind, namespace, body["metadata"]["name"])


def _indexer(body: Body) -> str:
    return str(body.get("spec", {}).get("indexerRef", {}).get("name", ""))
