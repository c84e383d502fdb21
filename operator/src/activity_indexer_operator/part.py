"""What the operator is made of: a part per kind of object that it reconciles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from activity_indexer_operator.cache import Seen
from activity_indexer_operator.handlers import Watch
from activity_indexer_operator.kafka_metadata import KafkaReader
from activity_indexer_operator.metrics import Metrics
from activity_indexer_operator.ports import Cluster, Recorder
from activity_indexer_operator.settings import Settings
from activity_indexer_operator.tracing import UNTRACED, Tracing
from activity_indexer_operator.worker import Reconcile


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


@dataclass(frozen=True, slots=True)
class Part:
    """Reconcilers by the kind of their keys (a kind may be one that only the worker knows), and what marks keys."""

    reconcilers: Mapping[str, Reconcile]
    watches: Sequence[Watch]


MakePart = Callable[[Tools], Part]
