"""ActivityIndexers, one at a time: observe, validate, decide, act, and last the status."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_pass
from datetime import datetime
from typing import Final, Literal

import msgspec
import structlog
from msgspec.structs import replace

from activity_indexer_operator.indexer.apply import Applier
from activity_indexer_operator.indexer.conditions import Findings, invalid, kept_below
from activity_indexer_operator.indexer.decide import Decision, decide
from activity_indexer_operator.indexer.manifests import workload_resource
from activity_indexer_operator.indexer.memory import Memory
from activity_indexer_operator.indexer.model import ActivityIndexer, parse
from activity_indexer_operator.indexer.observe import FullReplays, Look, Observer
from activity_indexer_operator.indexer.report import is_news, is_warning, status_of, steady
from activity_indexer_operator.indexer.spec import Mode, Policy, Spec
from activity_indexer_operator.indexer.status import Status
from activity_indexer_operator.indexer.validate import Accepted, Validator
from activity_indexer_operator.kafka.observation import Offsets, Unknown
from activity_indexer_operator.kube.conditions import merge, transitions
from activity_indexer_operator.kube.objects import MANAGER, Body, Key, without_managed_fields
from activity_indexer_operator.kube.resources import INDEXERS
from activity_indexer_operator.kube.time import format_time, utc_now
from activity_indexer_operator.runtime.controller import ControllerContext
from activity_indexer_operator.runtime.queue import NEVER
from activity_indexer_operator.tracing.protocol import REASON

log = structlog.get_logger(__name__)

SECOND_LOOK: Final = 5.0
"""Seconds after which a strange answer, or none, is asked for again."""
LAG_INTERVAL: Final = 10.0
"""Seconds between looks for the policy Lag."""
STATUS_INTERVAL: Final = 20.0
"""Seconds for which numbers that always move are not written again."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over an object, once its spec is accepted."""

    indexer: ActivityIndexer
    accepted: Accepted
    spec: Spec
    look: Look
    decision: Decision


class IndexerReconciler:
    """Level-based: each pass starts from what is there now. What it remembers may be lost at any time."""

    def __init__(
        self,
        context: ControllerContext,
        full_replays: FullReplays,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._now, self._clock = now, clock
        self._applier = Applier(context.cluster, context.cache)
        self._observer = Observer(context.cluster, context.cache, context.kafka, full_replays, clock)
        self._validator = Validator(context.cluster, context.cache, self._applier, context.settings.indexer_image)
        self._memories: dict[Key, Memory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Brings one object's workload to what it is to be. Raises ClusterError; the next pass goes on from there."""
        body = await self._read(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._memories.pop(key, None)
            self._context.metrics.forget(key)
            return NEVER
        indexer = parse(body)
        memory = self._memory(indexer)
        accepted = await self._validator.accept(indexer, memory)
        if accepted.spec is None:
            await self._refuse(indexer, accepted.problem)
            return None
        return await self._follow(indexer, accepted, accepted.spec, memory)

    async def _follow(self, indexer: ActivityIndexer, accepted: Accepted, spec: Spec, memory: Memory) -> float | None:
        look = await self._observer.look(indexer.meta, spec, indexer.status, memory)
        replicas = look.workload if isinstance(look.workload, Unknown) else look.workload.replicas
        decision = decide(spec.mode, spec.scaling, look.observation.partitions, replicas, look.need)
        self._context.tracing.set_attributes({REASON: decision.reason, "activity_indexer.decision": decision.message})
        done = Pass(indexer, accepted, spec, look, decision)
        await self._act(done, memory)
        if isinstance(look.workload, Unknown):  # maybe it was made just now
            done = replace_pass(done, look=await self._observer.again(indexer.meta, spec, look))
        if look.doubtful and spec.mode is not Mode.SUSPENDED:
            return SECOND_LOOK
        await self._say(done, memory)
        if isinstance(look.observation.partitions, Unknown) or isinstance(done.look.workload, Unknown):
            return SECOND_LOOK
        return LAG_INTERVAL if spec.scaling.policy is Policy.LAG else None

    async def _act(self, done: Pass, memory: Memory) -> None:
        if done.spec.mode in {Mode.DRY_RUN, Mode.PAUSED}:
            return
        meta, desired = done.indexer.meta, done.decision.desired
        first = max(1, done.spec.scaling.min_replicas) if desired is None else desired
        await self._applier.apply(memory, done.accepted.wanted, first)
        workload, scale_to = done.look.workload, done.decision.scale_to
        # A target that is not there, or is misspelt, takes nobody's place.
        if done.spec.workload.target_ref is None or not isinstance(workload, Unknown):
            await self._applier.prune(meta, done.spec, done.accepted.wanted)
        if scale_to is None or isinstance(workload, Unknown):
            return
        resource = workload_resource(done.spec)
        await self._applier.scale(resource, meta.key.namespace, workload.name, scale_to)
        message = (
            f"{workload.kind} {workload.name} from {workload.replicas} to {scale_to} replicas: {done.decision.message}"
        )
        log.info("workload.scaled", key=str(meta.key), **{"from": workload.replicas, "to": scale_to})
        self._context.metrics.scaled(meta.key, workload.replicas, scale_to)
        await self._context.recorder.event(meta, "Normal", "Scaled", message)

    async def _say(self, done: Pass, memory: Memory) -> None:
        look, problem = done.look, done.accepted.problem
        found = Findings(done.spec, look.observation, look.workload, done.decision, problem, look.standing)
        meta = done.indexer.meta
        status = status_of(found, done.look.rates, done.indexer.status, meta.generation, format_time(self._now()))
        self._measure(meta.key, status, done.look)
        waits = self._clock() - memory.written_at < STATUS_INTERVAL
        if status == done.indexer.status or (waits and steady(status) == steady(done.indexer.status)):
            return
        await self._write(done.indexer, status)
        memory.written_at = self._clock()

    async def _refuse(self, indexer: ActivityIndexer, problem: str) -> None:
        self._context.tracing.set_attributes({REASON: "InvalidSpec", "activity_indexer.decision": problem})
        previous, generation = indexer.status, indexer.meta.generation
        conditions = merge(previous.conditions, invalid(problem), format_time(self._now()), generation)
        status = replace(previous, observed_generation=generation, conditions=conditions)
        if status != previous:
            await self._write(indexer, status)

    async def _write(self, indexer: ActivityIndexer, status: Status) -> None:
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

    def _measure(self, key: Key, status: Status, look: Look) -> None:
        offsets, dead = look.observation.offsets, look.observation.dead
        self._context.metrics.show(
            key,
            {
                "partitions": status.partitions.total if status.partitions else None,
                "desired_replicas": status.desired_replicas,
                "replicas": status.replicas,
                "ready_replicas": status.ready_replicas,
                "scaling_limited": kept_below(status.conditions),
                "lag_events": offsets.lag if isinstance(offsets, Offsets) else None,
                "hidden_events": sum(offsets.hidden.values()) if isinstance(offsets, Offsets) else None,
                "lost_events": sum(offsets.lost.values()) if isinstance(offsets, Offsets) else None,
                "dead_letters": dead.lag if isinstance(dead, Offsets) else None,
                "produced_events_per_second": look.rates.produced if look.rates else None,
                "capacity_events_per_second": look.rates.capacity if look.rates else None,
            },
        )

    async def _read(self, key: Key) -> Body | None:
        found = self._context.cache.get(INDEXERS, key.namespace, key.name)
        return found or await self._context.cluster.get(INDEXERS, key.namespace, key.name)

    def _memory(self, indexer: ActivityIndexer) -> Memory:
        return self._memories.setdefault(indexer.meta.key, Memory())
