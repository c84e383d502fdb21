"""One replay at a time: observe, decide, act, and last the status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

import msgspec
import structlog

from activity_common.replay_result import Counters
from activity_indexer_operator.indexer.model import ActivityIndexer
from activity_indexer_operator.jobs.job import job_body
from activity_indexer_operator.jobs.view import PodReason
from activity_indexer_operator.kube.conditions import merge
from activity_indexer_operator.kube.objects import MANAGER, InvalidSpec, Key
from activity_indexer_operator.kube.ports import ConflictError, RejectedError
from activity_indexer_operator.kube.resources import JOBS, REPLAYS
from activity_indexer_operator.kube.time import format_time, utc_now
from activity_indexer_operator.replay.command import Stage, job_name, job_request
from activity_indexer_operator.replay.conditions import message_of, reason_of
from activity_indexer_operator.replay.decide import Decision, Observed, Obstacle, decide, waiting
from activity_indexer_operator.replay.metrics import ReplayCounters
from activity_indexer_operator.replay.model import BAD_ENDS, Replay, ReplaySpec, ReplayStatus, parse_replay
from activity_indexer_operator.replay.observe import (
    indexer_obstacle,
    read_indexer,
    read_jobs,
    read_progress,
    read_replays,
    read_template,
    turn_obstacle,
)
from activity_indexer_operator.replay.reasons import Reason
from activity_indexer_operator.replay.trace import attributes_of, end_of
from activity_indexer_operator.runtime.controller import ControllerContext
from activity_indexer_operator.runtime.queue import NEVER

Retained = Callable[[Replay, ActivityIndexer | None], bool]
"""Whether a replay is kept whatever its age, as its ActivityIndexer would create it again."""

log = structlog.get_logger(__name__)


class ReplayReconciler:
    """Level-based: each pass starts from what is there now, and knows nothing of the last."""

    def __init__(
        self,
        context: ControllerContext,
        counters: ReplayCounters,
        retained: Retained,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cluster = context.cluster
        self._kafka = context.kafka
        self._recorder = context.recorder
        self._metrics = context.metrics
        self._counters = counters
        self._retained = retained
        self._tracing = context.tracing
        self._locks = context.locks
        self._metrics.expect_jobs(*Stage)
        self._now = now

    async def reconcile(self, key: Key) -> float | None:
        """Takes the next step of one replay. Raises ClusterError; what was done by then is found by the next pass."""
        body = await self._cluster.get(REPLAYS, key.namespace, key.name)
        if body is None:
            return NEVER
        replay = parse_replay(body)
        if replay.meta.deleted:
            return NEVER
        self._counters.expect(key.namespace)
        async with self._locks.of(key.namespace, replay.indexer or ""):
            return await self._step(replay)

    async def _step(self, replay: Replay) -> float | None:
        spec = replay.spec
        indexer = None
        if isinstance(spec, ReplaySpec):
            indexer = await read_indexer(self._cluster, replay.meta.key.namespace, spec.indexer_ref.name)
        seen = await self._observe(replay, indexer)
        decision = decide(seen, self._now())
        if decision.expire:
            await self._cluster.delete(REPLAYS, replay.meta.key.namespace, replay.meta.key.name, replay.meta.uid)
            log.info("replay.expired", key=str(replay.meta.key))
            return NEVER
        decision = await self._act(seen, indexer, decision)
        self._tracing.set_attributes(attributes_of(decision.status))
        if decision.status.trace_id and (trace := self._tracing.of_replay(replay.meta.uid)):
            self._tracing.link(trace)
        await self._report(replay, decision.status)
        return decision.after

    async def _observe(self, replay: Replay, indexer: ActivityIndexer | None) -> Observed:
        spec, retained = replay.spec, self._retained(replay, indexer)
        if isinstance(spec, InvalidSpec) or replay.finished:
            return Observed(replay, retained=retained)
        namespace, name = replay.meta.key.namespace, spec.indexer_ref.name
        jobs = await read_jobs(self._cluster, namespace, name, self._now())
        own = {job_name(replay, stage): stage for stage in Stage}
        replays = await read_replays(self._cluster, namespace, name)
        turn = jobs.busy(own) or turn_obstacle(replay, replays)
        obstacles = {stage: indexer_obstacle(indexer, name, dry_run=stage is Stage.PLAN) or turn for stage in Stage}
        return Observed(
            replay,
            jobs={stage: jobs.views[job] for job, stage in own.items() if job in jobs.views},
            obstacles={stage: obstacle for stage, obstacle in obstacles.items() if obstacle},
            progress=await self._progress(replay, spec, indexer),
            retained=retained,
        )

    async def _progress(self, replay: Replay, spec: ReplaySpec, indexer: ActivityIndexer | None) -> Counters | None:
        if indexer is None or isinstance(indexer.spec, InvalidSpec) or spec.mode == "DryRun" or not replay.status.plan:
            return None
        return await read_progress(self._kafka, replay.meta.key.namespace, indexer.spec, replay)

    async def _act(self, seen: Observed, indexer: ActivityIndexer | None, decision: Decision) -> Decision:
        key, spec = seen.replay.meta.key, seen.replay.spec
        if decision.delete:
            await self._cluster.delete(JOBS, key.namespace, decision.delete.name, decision.delete.uid)
            log.info("job.deleted", key=str(key), job=decision.delete.name)
        if not decision.create or indexer is None or isinstance(spec, InvalidSpec):
            return decision
        # The plan may have come with this very pass: the Job is made of the replay as the status will tell it.
        replay = replace(seen.replay, status=decision.status)
        if obstacle := await self._create(replay, spec, indexer, decision.create):
            # Not started means not fixed: a spec whose first Job was refused can still be mended.
            return waiting(seen if decision.create is Stage.PLAN else replace(seen, replay=replay), obstacle)
        return self._traced(replay, decision)

    def _traced(self, replay: Replay, decision: Decision) -> Decision:
        """The status names the trace that the Job was told to be part of."""
        trace = self._tracing.of_replay(replay.meta.uid)
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
        self._metrics.job_created(stage)
        log.info("job.created", key=str(replay.meta.key), job=request.name, stage=str(stage))
        return None

    async def _report(self, replay: Replay, status: ReplayStatus) -> None:
        meta, before = replay.meta, replay.status
        conditions = merge(before.conditions, status.conditions, format_time(self._now()), meta.generation)
        status = msgspec.structs.replace(status, conditions=conditions)
        if status != before:
            place = meta.key.namespace, meta.key.name
            await self._cluster.apply_status(REPLAYS, *place, msgspec.to_builtins(status), MANAGER)
        if status.phase and status.completion_time and not before.completion_time:
            self._counters.finished(meta.key.namespace, status.phase)
            if status.trace_id:
                self._tracing.replay_ended(end_of(replay, status, self._now()))
        await self._announce(replay, status)

    async def _announce(self, replay: Replay, status: ReplayStatus) -> None:
        """An Event for each phase, and for each reason that holds up what is under way."""
        key, reason, told = str(replay.meta.key), reason_of(status), message_of(status)
        if status.phase and status.phase != replay.status.phase:
            log.info("replay.moved", key=key, phase=status.phase, message_text=told)
            kind: Literal["Normal", "Warning"] = "Warning" if status.phase in BAD_ENDS else "Normal"
            await self._recorder.event(replay.meta, kind, status.phase, told)
        if reason in tuple(PodReason) and reason != reason_of(replay.status):
            log.info("replay.held_up", key=key, reason=reason, message_text=told)
            await self._recorder.event(replay.meta, "Warning", reason, told)
