"""One look at the outside for an ActivityIndexer. It never acts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from activity_indexer_operator.indexer.lag_policy import Need, Rates, Sample, step
from activity_indexer_operator.indexer.manifests import workload_resource
from activity_indexer_operator.indexer.memory import Memory
from activity_indexer_operator.indexer.report import positions
from activity_indexer_operator.indexer.spec import Policy, Spec
from activity_indexer_operator.indexer.status import Status
from activity_indexer_operator.indexer.workload import Workload, not_found, workload_of
from activity_indexer_operator.kafka.observation import Observation, SourceReason, Unknown, nothing
from activity_indexer_operator.kafka.reader import KafkaReader, Question
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Meta, without_managed_fields
from activity_indexer_operator.kube.ports import Cluster

FullReplays = Callable[[str, str], Iterable[str]]
"""The ids of the replays of an indexer (namespace, name) that left out nothing: what they have read is dealt with."""
MISSES: Final = 2
"""Looks in a row that must show nothing before it is said so."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen; `doubtful`: it is to be looked at once more before anything is said or done about the source.

    `standing` has, by partition with a lag, for how long the group has committed nothing of it (seconds).
    """

    observation: Observation
    workload: Workload | Unknown
    rates: Rates | None
    need: Need | None
    doubtful: bool
    standing: Mapping[int, float] = field(default_factory=dict)


class Observer:
    """Looks at Kafka, and at the workload."""

    def __init__(
        self,
        cluster: Cluster,
        cache: ObjectCache,
        kafka: KafkaReader,
        full_replays: FullReplays,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._cache, self._kafka, self._clock = cluster, cache, kafka, clock
        self._full_replays = full_replays

    async def look(self, meta: Meta, spec: Spec, status: Status, memory: Memory) -> Look:
        """Raises ClusterError; what Kafka does not tell is Unknown."""
        workload = await self._workload(meta, spec)
        handled = positions(status.dead_letter.handled if status.dead_letter else None)
        replays = self._full_replays(meta.key.namespace, meta.key.name)
        groups = tuple(f"{spec.kafka.consumer_group}.replay.{replay}" for replay in replays)
        question = Question(meta.key.namespace, spec.kafka, spec.dead_letter_topic, groups, handled)
        observation = await self._kafka.observe(question)
        observation, doubtful = self._doubted(observation, status, memory)
        if doubtful:
            await self._kafka.forget(meta.key.namespace, spec.kafka)
        rates, need = self._measured(spec, observation, workload, memory)
        return Look(observation, workload, rates, need, doubtful, self._standing(observation, memory))

    async def again(self, meta: Meta, spec: Spec, look: Look) -> Look:
        """The same look, with the workload as it is now. Raises ClusterError."""
        return replace(look, workload=await self._workload(meta, spec))

    async def _workload(self, meta: Meta, spec: Spec) -> Workload | Unknown:
        resource, target = workload_resource(spec), spec.workload.target_ref
        name = target.name if target else meta.key.name
        body = self._cache.get(resource, meta.key.namespace, name)
        if body is None:
            body = await self._cluster.get(resource, meta.key.namespace, name)
            if body is None:
                return not_found(resource.kind, meta.key.namespace, name)
            self._cache.put(resource, without_managed_fields(body))
        return workload_of(body)

    def _doubted(self, seen: Observation, status: Status, memory: Memory) -> tuple[Observation, bool]:
        """No answer, and fewer partitions than before, count only when a second look shows the same."""
        count, known = seen.partitions, status.partitions.total if status.partitions else None
        if isinstance(count, Unknown):
            memory.misses += 1
            said = known is None
            return seen, memory.misses < MISSES and not said
        memory.misses = 0
        if known is not None and count < known and memory.shrunk_to != count:
            memory.shrunk_to = count
            text = f"the brokers speak of {count} partitions where there were {known}"
            return nothing(Unknown(SourceReason.SHRUNK, text)), True
        memory.shrunk_to = None
        return seen, False

    def _standing(self, seen: Observation, memory: Memory) -> dict[int, float]:
        """For how long partitions with a lag have not moved."""
        if isinstance(seen.offsets, Unknown):
            return {number: self._clock() - since for number, (_, since) in memory.still.items()}
        now, before = self._clock(), memory.still
        memory.still = {
            number: before[number] if number in before and before[number][0] == position else (position, now)
            for number, position in seen.offsets.position.items()
            if seen.offsets.lags.get(number)
        }
        return {number: now - since for number, (_, since) in memory.still.items()}

    def _measured(
        self, spec: Spec, seen: Observation, workload: Workload | Unknown, memory: Memory
    ) -> tuple[Rates | None, Need | None]:
        count, offsets = seen.partitions, seen.offsets
        if isinstance(count, Unknown) or isinstance(offsets, Unknown) or isinstance(workload, Unknown):
            return None, None
        sample = Sample(
            self._clock(), offsets.produced, offsets.settled, offsets.lag, workload.replicas, workload.ready, count
        )
        memory.lag, rates, need = step(memory.lag, sample, spec.scaling)
        return rates, need if spec.scaling.policy is Policy.LAG else None
