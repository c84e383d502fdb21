"""What the trace of a replay says of it: values in, values out."""

from __future__ import annotations

from datetime import datetime

from activity_common.trace_context import parse_traceparent
from activity_indexer_operator.replay.conditions import message_of, reason_of
from activity_indexer_operator.replay.model import BAD_ENDS, Replay, ReplayStatus
from activity_indexer_operator.tracing.context import ANNOTATION
from activity_indexer_operator.tracing.protocol import OUTCOME, REASON, Attributes, ReplayEnd


def attributes_of(status: ReplayStatus) -> dict[str, str]:
    """Of a pass over a replay: where it is now, and why."""
    return {"activity_indexer.phase": status.phase or "", REASON: reason_of(status)}


def end_of(replay: Replay, status: ReplayStatus, now: datetime) -> ReplayEnd:
    """The span of a whole replay, from the making of the object to its end, which is now.

    The status knows the end to a second only: the span would end before what it is made of.
    """
    failed = status.phase in BAD_ENDS
    return ReplayEnd(
        uid=replay.meta.uid,
        trace_id=status.trace_id or "",
        indexer=replay.indexer or "",
        begin=replay.created,
        end=now,
        attributes=_attributes(replay, status),
        maker=parse_traceparent(replay.meta.annotations.get(ANNOTATION, "").encode()),
        error=reason_of(status) if failed else "",
        message=message_of(status) if failed else "",
    )


def _attributes(replay: Replay, status: ReplayStatus) -> Attributes:
    key, counts = replay.meta.key, status.progress
    told: dict[str, str | int] = {
        "k8s.namespace.name": key.namespace,
        "activity_indexer.object.kind": key.kind,
        "activity_indexer.object.name": key.name,
        "activity_indexer.replay.id": replay.id,
        OUTCOME: status.phase or "",
        REASON: reason_of(status),
    }
    if status.plan:
        told["activity_indexer.replay.matched"] = status.plan.matched
    if counts:
        told["activity_indexer.replay.sent"] = counts.sent
    return told
