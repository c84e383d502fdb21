"""The metrics of one process: of its indexer and its audit, shown to Prometheus and on the status page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from activity_indexer.telemetry.metrics.audit import AuditMetrics
from activity_indexer.telemetry.metrics.batches import BatchMetrics
from activity_indexer.telemetry.metrics.distribution import Distribution
from activity_indexer.telemetry.metrics.instruments import Declaration, Instruments
from activity_indexer.telemetry.metrics.partitions import PartitionMetrics, lost_events
from activity_indexer.telemetry.metrics.requests import RequestMetrics
from activity_indexer.telemetry.metrics.servers import ProcessMetrics, ServerMetrics, servers_up

COLLECTED: Final[Mapping[str, str]] = {
    "process_*": "CPU, memory, file descriptors and start time of the process (Linux).",
    "python_gc_*": "Work of the garbage collector by generation.",
    "python_info": "Version and implementation of Python.",
}
"""Metrics that the Prometheus client adds of itself."""


class Metrics:
    """All metrics, in a registry of their own; `indexer` and `audit` are what subscribes to the facts of each."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._instruments = make = Instruments()
        batches, requests = BatchMetrics(make, clock), RequestMetrics(make)
        lost, up = lost_events(make), servers_up(make)
        partitions = PartitionMetrics(make, lost, monotonic)
        process, audit = ProcessMetrics(make), AuditMetrics(make, lost, up)
        self.indexer = batches, requests, partitions, ServerMetrics(up), process
        self.audit = audit, process
        self._ages = batches.ages
        self.registry.register(make)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    @property
    def declarations(self) -> list[Declaration]:
        """What is measured."""
        return self._instruments.declarations

    def ages(self) -> Distribution:
        """The ages of all events that were written, by bucket (seconds)."""
        return self._ages

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type for a scrape, in the form that the Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def snapshot(self) -> dict[str, Any]:
        """Current values as JSON types: name without prefix → value, or nested by label values."""
        return self._instruments.snapshot()
