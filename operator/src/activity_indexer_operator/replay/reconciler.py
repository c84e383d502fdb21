"""One pass over a replay: observe (observe.py), decide (decide.py), act, and last the status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

import msgspec
import structlog

from activity_common.trace_context import parse_traceparent
from activity_indexer_operator.indexer.model import ActivityIndexer
from activity_indexer_operator.jobs.job import job_body
from activity_indexer_operator.jobs.view import PodReason
from activity_indexer_operator.kube.conditions import merge
from activity_indexer_operator.kube.objects import MANAGER, InvalidSpec, Key
from activity_indexer_operator.kube.ports import ConflictError, RejectedError
from activity_indexer_operator.kube.resources import JOBS, REPLAYS
from activity_indexer_operator.kube.time import format_time, utc_now
from activity_indexer_operator.replay.command import Stage, job_request
from activity_indexer_operator.replay.decide import Decision, Observed, Obstacle, decide, waiting
from activity_indexer_operator.replay.metrics import ReplayCounters
from activity_indexer_operator.replay.model import BAD_ENDS, Reason, Replay, ReplaySpec, ReplayStatus, parse_replay
from activity_indexer_operator.replay.observe import observe, read_indexer, read_template
from activity_indexer_operator.runtime.controller import ControllerContext
from activity_indexer_operator.runtime.queue import NEVER
from activity_indexer_operator.tracing.context import ANNOTATION
from activity_indexer_operator.tracing.protocol import OUTCOME, REASON, ReplayEnd

Retained = Callable[[Replay, ActivityIndexer | None], bool]
"""Whether a replay is kept whatever its age, as its ActivityIndexer would create it again."""

log = structlog.get_logger(__name__)


class ReplayReconciler:
    """Level-based: each pass starts from what exists now, and knows nothing of the last."""

    def __init__(
        self,
        context: ControllerContext,
        counters: ReplayCounters,
        retained: Retained,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._context = context
        self._cluster = context.cluster
        self._tracing = context.tracing
        self._counters = counters
        self._retained = retained
        self._now = now
        context.metrics.expect_jobs(*Stage)

    async def reconcile(self, key: Key) -> float | None:
        """Takes the next step of one replay. Raises ClusterError; the next pass finds what was done by then."""
        body = await self._cluster.get(REPLAYS, key.namespace, key.name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return NEVER
        replay = parse_replay(body)
        self._counters.expect(key.namespace)
        async with self._context.locks.of(key.namespace, replay.indexer or ""):
            indexer = await read_indexer(self._cluster, key.namespace, replay.indexer) if replay.indexer else None
            if replay.finished:
                observed = Observed(replay, retained=self._retained(replay, indexer))
            else:
                observed = await observe(self._cluster, self._context.kafka, replay, indexer, self._now())
            decision = decide(observed, self._now())
            if decision.expire:
                await self._cluster.delete(REPLAYS, key.namespace, key.name, replay.meta.uid)
                log.info("replay.expired", key=str(key))
                return NEVER
            decision = await self._act(observed, indexer, decision)
            await self._report(replay, decision.status)
            return decision.after

    async def _act(self, observed: Observed, indexer: ActivityIndexer | None, decision: Decision) -> Decision:
        """Deletes or creates a Job; returns what is decided after that."""
        key, spec = observed.replay.meta.key, observed.replay.spec
        if decision.delete:
            await self._cluster.delete(JOBS, key.namespace, decision.delete.name, decision.delete.uid)
            log.info("job.deleted", key=str(key), job=decision.delete.name)
        if not decision.create or indexer is None or isinstance(spec, InvalidSpec):
            return decision
        # The plan may have come with this very pass: the Job is created from the replay with its new status.
        planned = observed.with_status(decision.status)
        if obstacle := await self._create(planned.replay, spec, indexer, decision.create):
            # Until the first Job is created the spec can still be corrected: the status must not fix it.
            return waiting(observed if decision.create is Stage.PLAN else planned, obstacle)
        trace = self._tracing.of_replay(observed.replay.meta.uid)
        if trace is None or not trace.sampled:
            return decision
        return replace(decision, status=msgspec.structs.replace(decision.status, trace_id=trace.trace_id.decode()))

    async def _create(
        self, replay: Replay, spec: ReplaySpec, indexer: ActivityIndexer, stage: Stage
    ) -> Obstacle | None:
        if isinstance(indexer.spec, InvalidSpec):
            return Obstacle(Reason.INDEXER_INVALID, indexer.spec.message)
        template = await read_template(self._cluster, indexer, indexer.spec)
        if isinstance(template, Obstacle):
            return template
        request = job_request(replay, spec, stage, self._tracing.of_replay(replay.meta.uid))
        try:
            await self._cluster.create(JOBS, job_body(request, template))
        except ConflictError:
            return Obstacle(Reason.JOB_NAME_TAKEN, f"Job {request.name} belongs to another object: delete it")
        except RejectedError as error:
            return Obstacle(Reason.JOB_REFUSED, str(error))
        self._context.metrics.job_created(stage)
        log.info("job.created", key=str(replay.meta.key), job=request.name, stage=str(stage))
        return None

    async def _report(self, replay: Replay, status: ReplayStatus) -> None:
        meta, before, now = replay.meta, replay.status, self._now()
        self._tracing.set_attributes({"activity_indexer.phase": status.phase or "", REASON: status.reason})
        if status.trace_id and (trace := self._tracing.of_replay(meta.uid)):
            self._tracing.link(trace)
        conditions = merge(before.conditions, status.conditions, format_time(now), meta.generation)
        status = msgspec.structs.replace(status, conditions=conditions)
        if status != before:
            place = meta.key.namespace, meta.key.name
            await self._cluster.apply_status(REPLAYS, *place, msgspec.to_builtins(status), MANAGER)
        if status.phase and status.completion_time and not before.completion_time:
            self._counters.finished(meta.key.namespace, status.phase)
            if status.trace_id:
                self._tracing.replay_ended(_ended(replay, status, status.trace_id, now))
        await self._record(replay, status)

    async def _record(self, replay: Replay, status: ReplayStatus) -> None:
        """An Event for each phase, and for each reason why no pod of a Job runs."""
        meta, before, reason, message = replay.meta, replay.status, status.reason, status.message
        if status.phase and status.phase != before.phase:
            log.info("replay.moved", key=str(meta.key), phase=status.phase, message_text=message)
            kind: Literal["Normal", "Warning"] = "Warning" if status.phase in BAD_ENDS else "Normal"
            await self._context.recorder.event(meta, kind, status.phase, message)
        if reason in tuple(PodReason) and reason != before.reason:
            log.info("replay.held_up", key=str(meta.key), reason=reason, message_text=message)
            await self._context.recorder.event(meta, "Warning", reason, message)


def _ended(replay: Replay, status: ReplayStatus, trace_id: str, now: datetime) -> ReplayEnd:
    """The span of a whole replay, from the creation of the object to its end, which is now.

    The status has its end to a second only: by that the span would end before its children.
    """
    key, failed = replay.meta.key, status.phase in BAD_ENDS
    attributes: dict[str, str | int] = {
        "k8s.namespace.name": key.namespace,
        "activity_indexer.object.kind": key.kind,
        "activity_indexer.object.name": key.name,
        "activity_indexer.replay.id": replay.id,
        OUTCOME: status.phase or "",
        REASON: status.reason,
    }
    if status.plan:
        attributes["activity_indexer.replay.matched"] = status.plan.matched
    if status.progress:
        attributes["activity_indexer.replay.sent"] = status.progress.sent
    return ReplayEnd(
        uid=replay.meta.uid,
        trace_id=trace_id,
        indexer=replay.indexer or "",
        begin=replay.created,
        end=now,
        attributes=attributes,
        maker=parse_traceparent(replay.meta.annotations.get(ANNOTATION, "").encode()),
        error=status.reason if failed else "",
        message=status.message if failed else "",
    )
