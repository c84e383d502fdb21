"""The metrics of one process: of its indexer and its audit, shown to Prometheus and on the status page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from activity_indexer.telemetry.metrics.events import count_events, count_requests, time_batches
from activity_indexer.telemetry.metrics.instruments import Declaration, Instruments, Shown
from activity_indexer.telemetry.metrics.members import (
    count_audit,
    count_member,
    count_process,
    count_servers,
    measure_partitions,
)

COLLECTED: Final[Mapping[str, str]] = {
    "process_*": "CPU, memory, file descriptors and start time of the process (Linux).",
    "python_gc_*": "Work of the garbage collector by generation.",
    "python_info": "Version and implementation of Python.",
}
"""Metrics that the Prometheus client adds itself."""


class Metrics:
    """All metrics, in a registry of their own; `indexer` and `audit` count what each of the two reports.

    `ages` has the ages of all events that were written, by bucket (seconds).
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._shown = Shown()
        indexer, audit, process = Instruments(self._shown), Instruments(self._shown), Instruments(self._shown)
        count_events(indexer, clock)
        self.ages = time_batches(indexer)
        count_requests(indexer)
        count_member(indexer, audit.subscriptions)
        measure_partitions(indexer)
        count_servers(indexer, audit.subscriptions)
        count_process(process)
        count_audit(audit)
        self.indexer = [*indexer.subscriptions, *process.subscriptions]
        self.audit = [*audit.subscriptions, *process.subscriptions]
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self._shown)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    @property
    def declarations(self) -> list[Declaration]:
        """What is measured."""
        return self._shown.declarations

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type for a scrape, in the form that the Accept header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def snapshot(self) -> dict[str, Any]:
        """Current values as JSON types: name without prefix → value, or nested by label values."""
        return self._shown.snapshot()
