"""One observation for an ActivityIndexer: Kafka, and the workload. It never acts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from activity_indexer_operator.indexer.lag_policy import Need, Rates, Sample, step
from activity_indexer_operator.indexer.model import ActivityIndexer, Memory, Workload, workload_of
from activity_indexer_operator.indexer.objects.manifests import workload_resource
from activity_indexer_operator.indexer.spec import Policy, Spec
from activity_indexer_operator.indexer.status import Status
from activity_indexer_operator.kafka.observation import Observation, SourceReason, Unknown, nothing
from activity_indexer_operator.kafka.reader import KafkaReader, Question
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.objects import Meta, without_managed_fields
from activity_indexer_operator.kube.ports import Cluster

FullReplays = Callable[[str, str], Iterable[str]]
"""The ids of an indexer's replays (by its namespace and name) that left out no dead letter they have read."""
MISSES: Final = 2
"""Looks in a row that must show nothing before it is reported."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What a pass has found; `doubtful`: one more look is needed before anything is reported or done about the source.

    `standing` has, by partition with a lag, for how long the group has committed nothing of it (seconds).
    """

    observation: Observation
    workload: Workload | Unknown
    rates: Rates | None
    need: Need | None
    doubtful: bool
    standing: Mapping[int, float] = field(default_factory=dict)


class Observer:
    """Reads Kafka, and the workload from the cache or the API server."""

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

    async def observe(self, indexer: ActivityIndexer, spec: Spec, memory: Memory) -> Observed:
        """Raises ClusterError; what Kafka does not answer is Unknown."""
        meta, status = indexer.meta, indexer.status
        workload = await self._workload(meta, spec)
        replays = self._full_replays(meta.key.namespace, meta.key.name)
        question = Question(
            meta.key.namespace,
            spec.kafka,
            spec.dead_letter_topic,
            tuple(f"{spec.kafka.consumer_group}.replay.{replay}" for replay in replays),
            status.dead_letter.positions if status.dead_letter else {},
        )
        observation = await self._kafka.observe(question)
        observation, doubtful = self._doubted(observation, status, memory)
        if doubtful:
            await self._kafka.forget(meta.key.namespace, spec.kafka)
        rates, need = self._measured(spec, observation, workload, memory)
        return Observed(observation, workload, rates, need, doubtful, self._standing(observation, memory))

    async def again(self, indexer: ActivityIndexer, spec: Spec, observed: Observed) -> Observed:
        """The same, with the workload as it is now. Raises ClusterError."""
        return replace(observed, workload=await self._workload(indexer.meta, spec))

    async def _workload(self, meta: Meta, spec: Spec) -> Workload | Unknown:
        resource, target = workload_resource(spec), spec.workload.target_ref
        namespace, name = meta.key.namespace, target.name if target else meta.key.name
        body = await self._cache.read(self._cluster, resource, namespace, name)
        if body is None:
            return Unknown("TargetNotFound", f"there is no {resource.kind} {namespace}/{name}")
        self._cache.put(resource, without_managed_fields(body))
        return workload_of(body)

    def _doubted(self, found: Observation, status: Status, memory: Memory) -> tuple[Observation, bool]:
        """No answer, and fewer partitions than before, count only when a second look shows the same."""
        count, known = found.partitions, status.partitions.total if status.partitions else None
        if isinstance(count, Unknown):
            memory.misses += 1
            return found, memory.misses < MISSES and known is not None
        memory.misses = 0
        if known is not None and count < known and memory.shrunk_to != count:
            memory.shrunk_to = count
            message = f"the brokers report {count} partitions where there were {known}"
            return nothing(Unknown(SourceReason.SHRUNK, message)), True
        memory.shrunk_to = None
        return found, False

    def _standing(self, found: Observation, memory: Memory) -> dict[int, float]:
        """For how long partitions with a lag have not moved."""
        if isinstance(found.offsets, Unknown):
            return {number: self._clock() - since for number, (_, since) in memory.still.items()}
        now, before = self._clock(), memory.still
        memory.still = {
            number: before[number] if number in before and before[number][0] == position else (position, now)
            for number, position in found.offsets.position.items()
            if found.offsets.lags.get(number)
        }
        return {number: now - since for number, (_, since) in memory.still.items()}

    def _measured(
        self, spec: Spec, found: Observation, workload: Workload | Unknown, memory: Memory
    ) -> tuple[Rates | None, Need | None]:
        count, offsets = found.partitions, found.offsets
        if isinstance(count, Unknown) or isinstance(offsets, Unknown) or isinstance(workload, Unknown):
            return None, None
        sample = Sample(
            self._clock(), offsets.produced, offsets.settled, offsets.lag, workload.replicas, workload.ready, count
        )
        memory.lag, rates, need = step(memory.lag, sample, spec.scaling)
        return rates, need if spec.scaling.policy is Policy.LAG else None
