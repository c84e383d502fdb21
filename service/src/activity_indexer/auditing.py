"""Runs the audit beside the indexer, or alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from activity_indexer.adapters.audit_source import KafkaAuditSource
from activity_indexer.adapters.postgres import PostgresAudit
from activity_indexer.audit import Audit
from activity_indexer.ports import Partition
from activity_indexer.settings import Settings
from activity_indexer.telemetry.metrics import Metrics


class _AuditMetrics:
    """audit.AuditMetrics over the indexer's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def events(self, outcome: str, count: int) -> None:
        """Events were written, invalid, rejected or dropped."""
        self._metrics.audited(outcome, count)

    def batch(self, events: int, seconds: float) -> None:
        """A batch was written; its log line says so."""

    def lag(self, partitions: Mapping[Partition, int]) -> None:
        """Records of each partition that the audit has not written."""
        self._metrics.audit_assigned([partition.partition for partition in partitions])
        for partition, records in partitions.items():
            self._metrics.audit_lag(partition.partition, records)

    def dependency(self, name: str, *, up: bool) -> None:
        """PostgreSQL takes calls, or does not; Kafka is reported by the indexer."""
        if name == "postgresql":
            self._metrics.dependency("postgres", up=up)


async def run_audit(settings: Settings, metrics: Metrics, stopping: asyncio.Event) -> None:
    """Write the audit until `stopping` is set. Raises for defects only."""
    source = KafkaAuditSource(settings)
    store = PostgresAudit(settings.database)
    audit = Audit(source, store, settings, _AuditMetrics(metrics))
    running = asyncio.create_task(audit.run())
    ending = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        await audit.stop()
    finally:
        ending.cancel()
        await store.close()
    running.result()
