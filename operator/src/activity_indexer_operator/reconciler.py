"""One object at a time: observe, decide, act, and last the status."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from activity_indexer_operator.api import ActivityIndexer, InvalidSpec, Key, Spec, Status
from activity_indexer_operator.conditions import conditions_for, invalid, merge
from activity_indexer_operator.decide import Number, Unknown, decide
from activity_indexer_operator.ports import Cluster, Topics

log = logging.getLogger(__name__)


def utc_now() -> str:
    """The time as conditions have it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Reconciler:
    """Level-based: each pass starts from what is there now, and knows nothing of the last."""

    def __init__(self, cluster: Cluster, topics: Topics, now: Callable[[], str] = utc_now) -> None:
        self._cluster = cluster
        self._topics = topics
        self._now = now

    async def reconcile(self, key: Key) -> None:
        """Brings one object's workload to the size that its topic calls for.

        Raises ClusterError; whatever was done by then is found by the next pass.
        """
        indexer = await self._cluster.read(key)
        if indexer is None:
            return
        if isinstance(indexer.spec, InvalidSpec):
            status = replace(indexer.status, conditions=invalid(indexer.spec))
        else:
            status = await self._follow(indexer, indexer.spec)
        await self._report(indexer, status)

    async def _follow(self, indexer: ActivityIndexer, spec: Spec) -> Status:
        namespace, target = indexer.key.namespace, spec.workload.target_ref.name
        partitions = await self._topics.partitions(spec.kafka)
        replicas = await self._cluster.replicas(namespace, target)
        decision = decide(partitions, replicas, spec.scaling)
        if decision.scale_to is not None:
            await self._cluster.scale(namespace, target, decision.scale_to)
            log.info("workload.scaled", extra={"key": str(indexer.key), "deployment": target,
                     "from": replicas, "to": decision.scale_to, "partitions": partitions})  # fmt: skip
        lag: Number = Unknown("PartitionsUnknown", "the partition count is not known")
        if not isinstance(partitions, Unknown):
            lag = await self._topics.lag(spec.kafka, partitions)
        return Status(
            partitions=_known(partitions),
            desired_replicas=decision.desired,
            replicas=_known(replicas) if decision.scale_to is None else decision.scale_to,
            lag=_known(lag),
            conditions=conditions_for(spec, partitions, replicas, decision),
        )

    async def _report(self, indexer: ActivityIndexer, status: Status) -> None:
        previous = indexer.status
        conditions = merge(previous.conditions, status.conditions, self._now(), indexer.generation)
        status = replace(status, observed_generation=indexer.generation, conditions=conditions)
        if status == previous:
            return
        await self._cluster.save_status(indexer.key, status)
        before = {condition.type: condition.status for condition in previous.conditions}
        for condition in conditions:
            if before.get(condition.type) != condition.status:
                log.info(
                    "condition.changed", extra={"key": str(indexer.key), "condition": msgspec.to_builtins(condition)}
                )


def _known(number: Number) -> int | None:
    return None if isinstance(number, Unknown) else number
