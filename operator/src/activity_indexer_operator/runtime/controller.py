"""What the operator is made of: a part per kind of object that it reconciles."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from activity_indexer_operator.kafka.reader import KafkaReader
from activity_indexer_operator.kube.cache import Seen
from activity_indexer_operator.kube.ports import Cluster, Recorder
from activity_indexer_operator.runtime.metrics import Metrics
from activity_indexer_operator.runtime.queue import Reconcile
from activity_indexer_operator.runtime.watches import Watch
from activity_indexer_operator.settings import Settings
from activity_indexer_operator.tracing.protocol import UNTRACED, Tracing


class Locks:
    """One per indexer: whoever looks at its Jobs and then makes one does so alone."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, namespace: str, indexer: str) -> asyncio.Lock:
        """The lock of an indexer."""
        return self._locks.setdefault((namespace, indexer), asyncio.Lock())


@dataclass(frozen=True, slots=True)
class Tools:
    """What every part may use. `mark` makes a key due: `worker.Worker.mark`."""

    settings: Settings
    cluster: Cluster
    seen: Seen
    recorder: Recorder
    kafka: KafkaReader
    metrics: Metrics
    tracing: Tracing = UNTRACED
    locks: Locks = field(default_factory=Locks)


@dataclass(frozen=True, slots=True)
class Part:
    """Reconcilers by the kind of their keys (a kind may be one that only the worker knows), and what marks keys."""

    reconcilers: Mapping[str, Reconcile]
    watches: Sequence[Watch]
