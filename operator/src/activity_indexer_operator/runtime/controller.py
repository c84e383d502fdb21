"""What a controller is, and what all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from activity_indexer_operator.kafka.reader import KafkaReader
from activity_indexer_operator.kube.cache import ObjectCache
from activity_indexer_operator.kube.ports import Cluster, Recorder
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.runtime.queue import Reconcile
from activity_indexer_operator.runtime.watches import Watch
from activity_indexer_operator.settings import Settings
from activity_indexer_operator.tracing.protocol import UNTRACED, Tracing


class Locks:
    """One per indexer: held from reading its Jobs until another one is created."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, namespace: str, indexer: str) -> asyncio.Lock:
        """The lock of an indexer."""
        return self._locks.setdefault((namespace, indexer), asyncio.Lock())


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """What every controller may use."""

    settings: Settings
    cluster: Cluster
    cache: ObjectCache
    recorder: Recorder
    kafka: KafkaReader
    metrics: Metrics
    tracing: Tracing = UNTRACED
    locks: Locks = field(default_factory=Locks)


@dataclass(frozen=True, slots=True)
class Controller:
    """Reconciles the keys of one kind, and watches what enqueues them. The kind may be the queue's alone."""

    kind: str
    reconcile: Reconcile
    watches: Sequence[Watch]
