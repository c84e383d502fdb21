"""The controller of what ActivityIndexers ask for once or on a schedule."""

from __future__ import annotations

from collections.abc import Iterator

from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Body, Key, controller_of, without_managed_fields
from activity_indexer_operator.kube.resources import INDEXERS, JOBS, REPLAYS
from activity_indexer_operator.replay.controller import indexer_of
from activity_indexer_operator.runtime.controller import Controller, ControllerContext
from activity_indexer_operator.runtime.watches import Watch
from activity_indexer_operator.tasks.reconciler import TASKS, TaskReconciler


def tasks_controller(context: ControllerContext) -> Controller:
    """The tasks of each ActivityIndexer, and what they create."""
    return Controller(
        TASKS,
        TaskReconciler(context).reconcile,
        (
            Watch(REPLAYS, replay_keys, without_managed_fields),
            Watch(JOBS, job_keys, without_managed_fields),
            Watch(INDEXERS, indexer_keys, without_managed_fields),
        ),
    )


def replay_keys(body: Body, _cache: ObjectCache) -> Iterator[Key]:
    """The tasks of the replay's indexer."""
    yield Key(TASKS, body["metadata"]["namespace"], indexer_of(body))


def job_keys(body: Body, _cache: ObjectCache) -> Iterator[Key]:
    """The tasks of the indexer that the Job purges for."""
    owner = controller_of(body)
    if owner and owner[0] == INDEXERS.kind:
        yield Key(TASKS, body["metadata"]["namespace"], owner[1])


def indexer_keys(body: Body, _cache: ObjectCache) -> Iterator[Key]:
    """The tasks of the indexer."""
    yield Key(TASKS, body["metadata"]["namespace"], body["metadata"]["name"])
