"""Runs the audit beside the indexer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from activity_indexer.adapters.kafka.address import HttpAddress
from activity_indexer.adapters.kafka.audit_source import KafkaAuditSource
from activity_indexer.adapters.postgres.audit_store import PostgresAudit
from activity_indexer.audit.consumer import Audit
from activity_indexer.ending import Ending, close_all
from activity_indexer.pipeline.decoded_events import DecodedEvents
from activity_indexer.reports import AuditCrashed, Emit, Subscribers
from activity_indexer.settings import Settings
from activity_indexer.telemetry.calls import Calls, MeasuredAudit
from activity_indexer.telemetry.health import Health
from activity_indexer.telemetry.log_lines import LogLines
from activity_indexer.telemetry.metrics.indexer import Metrics
from activity_indexer.telemetry.problems import AuditProblems
from activity_indexer.tracing import Tracing


async def run_audit(
    *,
    settings: Settings,
    metrics: Metrics,
    health: Health,
    ending: Ending,
    tracing: Tracing,
    decoded: DecodedEvents,
    address: HttpAddress | None = None,
) -> None:
    """Write the audit until the end begins. A defect in it is logged, and it starts again: indexing goes on."""
    log = structlog.get_logger("activity_indexer.audit")
    emit = Subscribers(metrics.audit, AuditProblems(health), LogLines("audit"))
    while not ending.begun:
        try:
            await _run_once(
                settings=settings, emit=emit, ending=ending, tracing=tracing, decoded=decoded, address=address
            )
        except Exception as error:
            log.exception("audit.crashed")
            emit(AuditCrashed(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.consumer.backoff_max):
                    await ending.wait()


async def _run_once(
    *,
    settings: Settings,
    emit: Emit,
    ending: Ending,
    tracing: Tracing,
    decoded: DecodedEvents,
    address: HttpAddress | None,
) -> None:
    source = KafkaAuditSource(settings, address=address, emit=emit, decoded=decoded)
    store = PostgresAudit(settings.database, settings.pipeline)
    measured = MeasuredAudit(store, Calls(emit, tracing))
    audit = Audit(source=source, store=measured, settings=settings, emit=emit, tracing=tracing)
    running = asyncio.create_task(audit.run())
    ended = asyncio.create_task(ending.wait())
    try:
        await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
        await audit.stop(ending.deadline)
    finally:
        ended.cancel()
        running.cancel()
        await close_all({"kafka (audit)": source.close, "postgres": store.close}, ending.deadline)
    if running.done() and not running.cancelled():
        running.result()
