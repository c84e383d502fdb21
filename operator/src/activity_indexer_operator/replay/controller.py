"""The controller of DeadLetterReplays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from activity_indexer_operator.kube.cache import Seen
from activity_indexer_operator.kube.objects import Body, Key, controller_of, without_managed_fields
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS
from activity_indexer_operator.replay.metrics import ReplayCounters
from activity_indexer_operator.replay.reconciler import ReplayReconciler, Retained
from activity_indexer_operator.runtime.controller import Part, Tools
from activity_indexer_operator.runtime.watches import Watch, own_key

_WAITING: Final = ("Pending", None)


def replay_part(tools: Tools, retained: Retained) -> Part:
    """DeadLetterReplays, their Jobs, and what they may wait for."""
    reconciler = ReplayReconciler(tools, ReplayCounters(tools.metrics.registry), retained)
    return Part(
        reconcilers={REPLAYS.kind: reconciler.reconcile},
        watches=(
            Watch(REPLAYS, replay_keys, without_managed_fields),
            Watch(JOBS, job_keys, without_managed_fields),
            Watch(INDEXERS, indexer_keys, without_managed_fields),
        ),
    )


def replay_keys(body: Body, seen: Seen) -> Iterator[Key]:
    """The replay itself, and those that may wait for it."""
    yield from own_key(body, seen)
    if body.get("status", {}).get("completionTime") or "deletionTimestamp" in body["metadata"]:
        yield from _waiting(seen, body["metadata"]["namespace"], indexer_of(body))


def job_keys(body: Body, seen: Seen) -> Iterator[Key]:
    """The replay that the Job belongs to; or, where it purges, the replays that wait for it."""
    owner, namespace = controller_of(body), body["metadata"]["namespace"]
    if owner and owner[0] == REPLAYS.kind:
        yield Key(REPLAYS.kind, namespace, owner[1])
    elif owner and owner[0] == INDEXERS.kind:
        yield from _waiting(seen, namespace, owner[1])


def indexer_keys(body: Body, seen: Seen) -> Iterator[Key]:
    """The replays that may wait for the indexer."""
    yield from _waiting(seen, body["metadata"]["namespace"], body["metadata"]["name"])


def indexer_of(body: Body) -> str:
    """The indexer that a DeadLetterReplay names; "" where it names none."""
    return str(body.get("spec", {}).get("indexerRef", {}).get("name", ""))


def _waiting(seen: Seen, namespace: str, indexer: str) -> Iterator[Key]:
    for body in seen.all(REPLAYS, namespace):
        if indexer_of(body) == indexer and body.get("status", {}).get("phase") in _WAITING:
            yield Key(REPLAYS.kind, namespace, body["metadata"]["name"])
