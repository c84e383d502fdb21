"""One pass over an ActivityIndexer: validate, observe, decide, apply, report; each step is the module of that name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import msgspec
import structlog

from activity_indexer_operator.indexer.apply import Applier
from activity_indexer_operator.indexer.decide import Decision, decide
from activity_indexer_operator.indexer.model import ActivityIndexer, Memory, parse
from activity_indexer_operator.indexer.objects.manifests import Manifest, workload_resource
from activity_indexer_operator.indexer.observe import FullReplays, Observed, Observer
from activity_indexer_operator.indexer.report import (
    Findings,
    gauges,
    is_news,
    is_warning,
    refused,
    status_of,
    steady,
)
from activity_indexer_operator.indexer.spec import Mode, Policy, Spec
from activity_indexer_operator.indexer.status import Status
from activity_indexer_operator.indexer.validate import Accepted, Validator
from activity_indexer_operator.kafka.observation import Unknown
from activity_indexer_operator.kube.conditions import transitions
from activity_indexer_operator.kube.objects import MANAGER, Key, without_managed_fields
from activity_indexer_operator.kube.resources import INDEXERS
from activity_indexer_operator.kube.time import format_time, utc_now
from activity_indexer_operator.runtime.controller import ControllerContext
from activity_indexer_operator.runtime.queue import NEVER
from activity_indexer_operator.tracing.protocol import REASON

log = structlog.get_logger(__name__)

SECOND_LOOK: Final = 5.0
"""Seconds after which Kafka is asked again, when it did not answer or its answer is doubtful."""
LAG_INTERVAL: Final = 10.0
"""Seconds between passes for the policy Lag."""
STATUS_INTERVAL: Final = 20.0
"""Seconds for which numbers that always change are not written again."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over an object whose spec is accepted."""

    indexer: ActivityIndexer
    spec: Spec
    wanted: tuple[Manifest, ...]
    observed: Observed
    decision: Decision


class IndexerReconciler:
    """Level-based: each pass starts from what exists now. What it remembers may be lost at any time."""

    def __init__(
        self,
        context: ControllerContext,
        full_replays: FullReplays,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        cluster, cache = context.cluster, context.cache
        self._context = context
        self._now, self._clock = now, clock
        self._validator = Validator(cluster, cache, context.settings.indexer_image)
        self._observer = Observer(cluster, cache, context.kafka, full_replays, clock)
        self._applier = Applier(cluster, cache)
        self._memories: dict[Key, Memory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Brings one object's workload to what its spec asks for. Raises ClusterError; the next pass continues."""
        body = await self._context.cache.read(self._context.cluster, INDEXERS, key.namespace, key.name)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._memories.pop(key, None)
            self._context.metrics.forget(key)
            return NEVER
        indexer, memory = parse(body), self._memories.setdefault(key, Memory())
        accepted = await self._validator.validate(indexer, memory)
        if accepted.spec is None:
            self._context.tracing.set_attributes({REASON: "InvalidSpec", "activity_indexer.decision": accepted.problem})
            status = refused(accepted.problem, indexer.status, indexer.meta.generation, format_time(self._now()))
            if status != indexer.status:
                await self._write(indexer, status)
            return None
        return await self._follow(indexer, accepted, accepted.spec, memory)

    async def _follow(self, indexer: ActivityIndexer, accepted: Accepted, spec: Spec, memory: Memory) -> float | None:
        """Observes, decides, applies and reports; returns the seconds until the next pass."""
        observed = await self._observer.observe(indexer, spec, memory)
        workload, partitions = observed.workload, observed.observation.partitions
        replicas = workload if isinstance(workload, Unknown) else workload.replicas
        decision = decide(spec.mode, spec.scaling, partitions, replicas, observed.need)
        self._context.tracing.set_attributes({REASON: decision.reason, "activity_indexer.decision": decision.message})
        if spec.mode not in {Mode.DRY_RUN, Mode.PAUSED}:
            await self._apply(Pass(indexer, spec, accepted.wanted, observed, decision), memory)
        if isinstance(workload, Unknown):  # it may have been created just now
            observed = await self._observer.again(indexer, spec, observed)
        if observed.doubtful and spec.mode is not Mode.SUSPENDED:
            return SECOND_LOOK
        findings = Findings(
            spec, observed.observation, observed.workload, decision, accepted.problem, observed.standing, observed.rates
        )
        await self._report(indexer, findings, memory)
        if isinstance(partitions, Unknown) or isinstance(observed.workload, Unknown):
            return SECOND_LOOK
        return LAG_INTERVAL if spec.scaling.policy is Policy.LAG else None

    async def _apply(self, done: Pass, memory: Memory) -> None:
        meta, decision, workload = done.indexer.meta, done.decision, done.observed.workload
        first = max(1, done.spec.scaling.min_replicas) if decision.desired is None else decision.desired
        await self._applier.apply(memory, done.wanted, first)
        # A target that does not exist, or is misspelt, replaces nothing.
        if done.spec.workload.target_ref is None or not isinstance(workload, Unknown):
            await self._applier.prune(meta, done.spec, done.wanted)
        if decision.scale_to is None or isinstance(workload, Unknown):
            return
        before, after = workload.replicas, decision.scale_to
        await self._applier.scale(workload_resource(done.spec), meta.key.namespace, workload.name, after)
        log.info("workload.scaled", key=str(meta.key), **{"from": before}, to=after)
        self._context.metrics.scaled(meta.key, before, after)
        message = f"{workload.kind} {workload.name} from {before} to {after} replicas: {decision.message}"
        await self._context.recorder.event(meta, "Normal", "Scaled", message)

    async def _report(self, indexer: ActivityIndexer, findings: Findings, memory: Memory) -> None:
        before, generation = indexer.status, indexer.meta.generation
        status = status_of(findings, before, generation, format_time(self._now()))
        self._context.metrics.show(indexer.meta.key, gauges(findings, status))
        waits = self._clock() - memory.written_at < STATUS_INTERVAL
        if status == before or (waits and steady(status) == steady(before)):
            return
        await self._write(indexer, status)
        memory.written_at = self._clock()

    async def _write(self, indexer: ActivityIndexer, status: Status) -> None:
        """The status, and an Event for each transition that is worth one."""
        key = indexer.meta.key
        answer = await self._context.cluster.apply_status(
            INDEXERS, key.namespace, key.name, msgspec.to_builtins(status), MANAGER
        )
        if answer is None:
            return
        self._context.cache.put(INDEXERS, without_managed_fields(answer))
        before = {condition.type for condition in indexer.status.conditions}
        for condition in transitions(indexer.status.conditions, status.conditions):
            log.info("condition.changed", key=str(key), condition=msgspec.to_builtins(condition))
            if is_news(condition, condition.type in before):
                kind: Literal["Normal", "Warning"] = "Warning" if is_warning(condition) else "Normal"
                await self._context.recorder.event(indexer.meta, kind, condition.reason, condition.message)
