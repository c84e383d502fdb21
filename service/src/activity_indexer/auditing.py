"""Runs the audit beside the indexer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from activity_indexer.adapters.audit_source import KafkaAuditSource
from activity_indexer.adapters.postgres import PostgresAudit
from activity_indexer.audit import Audit
from activity_indexer.settings import Settings
from activity_indexer.telemetry.metrics import Metrics
from activity_indexer.telemetry.reporter import AuditReporter


async def run_audit(settings: Settings, metrics: Metrics, stopping: asyncio.Event) -> None:
    """Write the audit until `stopping` is set. A defect in it is logged, and it starts anew: indexing goes on."""
    log = structlog.get_logger("activity_indexer.audit")
    while not stopping.is_set():
        try:
            await _run_once(settings, metrics, stopping)
        except Exception:
            log.exception("audit.crashed")
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.consumer.backoff_max):
                    await stopping.wait()


async def _run_once(settings: Settings, metrics: Metrics, stopping: asyncio.Event) -> None:
    source = KafkaAuditSource(settings)
    store = PostgresAudit(settings.database)
    audit = Audit(source, store, settings, AuditReporter(metrics))
    running = asyncio.create_task(audit.run())
    ending = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
        await audit.stop()
    finally:
        ending.cancel()
        running.cancel()
        await source.close()
        await store.close()
    with suppress(asyncio.CancelledError):
        await running
