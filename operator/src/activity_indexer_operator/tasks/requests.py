"""Replays that an ActivityIndexer asks for: values in, values out."""

from __future__ import annotations

from typing import Any

import msgspec

from activity_common.trace_context import TraceContext
from activity_indexer_operator.indexer.model import ActivityIndexer
from activity_indexer_operator.jobs.settings import LABEL_INDEXER
from activity_indexer_operator.kube.objects import API_VERSION, MANAGER, Meta, owner_reference
from activity_indexer_operator.replay.model import LABEL_ORIGIN, Replay, Template
from activity_indexer_operator.tasks.model import Tasks, parse_tasks
from activity_indexer_operator.tracing.context import ANNOTATION


def requested_name(indexer: str, request_id: str) -> str:
    """The name of the replay that is requested."""
    return f"{indexer}-{request_id}"


def still_requested(replay: Replay, indexer: ActivityIndexer | None) -> bool:
    """Whether the indexer's spec requests this replay: deleted, it would be created again, and would run again."""
    tasks = parse_tasks(indexer.body) if indexer else None
    if indexer is None or not isinstance(tasks, Tasks):
        return False
    request = tasks.dead_letter.replay_request
    return request is not None and replay.meta.key.name == requested_name(indexer.meta.key.name, request.id)


def replay_body(
    indexer: Meta,
    name: str,
    origin: str,
    template: Template,
    replay_id: str | None,
    maker: TraceContext | None = None,
) -> dict[str, Any]:
    """The DeadLetterReplay; it is deleted with its indexer. `maker` is the span that creates it."""
    fields = {field.name for field in msgspec.structs.fields(Template)}
    wanted = Template(**{field: getattr(template, field) for field in fields})
    spec = {"indexerRef": {"name": indexer.key.name}, **msgspec.to_builtins(wanted)}
    if replay_id:
        spec["id"] = replay_id
    return {
        "apiVersion": API_VERSION,
        "kind": "DeadLetterReplay",
        "metadata": {
            "name": name,
            "namespace": indexer.key.namespace,
            "labels": {
                LABEL_INDEXER: indexer.key.name,
                LABEL_ORIGIN: origin,
                "app.kubernetes.io/managed-by": MANAGER,
            },
            **({"annotations": {ANNOTATION: str(maker)}} if maker else {}),
            "ownerReferences": [owner_reference(indexer)],
        },
        "spec": spec,
    }
