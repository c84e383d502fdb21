"""What processor, audit and calls report to tracing, as spans in memory."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from fixtures.audit import value as audit_value
from fixtures.clock import Clock
from fixtures.emitted import Emitted
from fixtures.events import NOW, TOPIC, value
from fixtures.memory.audit import MemoryAudit
from fixtures.memory.stores import MemoryDeadLetters, MemoryIndex
from fixtures.records import Reported, enriched, one_batch, taken
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from activity_common.trace_context import traceparent
from activity_indexer.audit.consumer import Audit
from activity_indexer.backoff import Backoff
from activity_indexer.breaker import Breaker
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.ending import Deadline
from activity_indexer.indexing import BulkWriter
from activity_indexer.offsets import PartitionOffsets
from activity_indexer.ports import BulkReply, Polled, Record
from activity_indexer.positions import Partition
from activity_indexer.processor import Limits, Processor
from activity_indexer.reports import unreported
from activity_indexer.settings import load_settings
from activity_indexer.telemetry.calls import Calls, MeasuredIndex
from activity_indexer.telemetry.tracing.spans import Consumed, Spans
from activity_indexer.ties import OrderedWriter

pytestmark = pytest.mark.simulated_time

TRACE_ID = 7
FAST = Backoff(0.001, 0.002)
HEADERS = [("traceparent", traceparent(TRACE_ID, 5))]


def tracing() -> tuple[Spans, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept)
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return Spans(provider, processor, Consumed(TOPIC, "group", "client", "dlq"), "1"), kept


def outcomes(kept: InMemorySpanExporter) -> list[Any]:
    """What became of the events that have spans, in the order of their offsets."""
    events = [span for span in kept.get_finished_spans() if "activity_indexer.outcome" in reported(span)]
    return [reported(span)["activity_indexer.outcome"] for span in sorted(events, key=_offset)]


def reported(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def _offset(span: ReadableSpan) -> int:
    return int(reported(span)["messaging.kafka.offset"])


async def processed(*records: Reported) -> tuple[MemoryIndex, MemoryDeadLetters, InMemorySpanExporter]:
    index, dead, emitted = MemoryIndex(), MemoryDeadLetters(), Emitted()
    spans, kept = tracing()
    loop = asyncio.get_running_loop()
    writer = BulkWriter(index, AdaptiveLimit(4, 60.0, loop.time), FAST, emitted, 1)
    limits = Limits(86_400.0, 0.001, FAST)
    breaker = Breaker(1.0, 100, 10)
    enrich = cast("Any", lambda _: enriched())
    processor = Processor(
        None,
        enrich,
        OrderedWriter(writer, index, FAST, emitted),
        dead,
        breaker,
        emitted,
        limits,
        Clock(NOW),
        tracing=spans,
    )
    await processor.process(one_batch(records, PartitionOffsets()))
    return index, dead, kept


async def test_a_document_has_the_trace_id_of_its_event_sampled_or_not() -> None:
    quiet = [("traceparent", traceparent(9, 5)[:-2] + b"00")]
    index, _, _ = await processed(
        Reported(value("a"), 0, headers=HEADERS), Reported(value("b"), 1, headers=quiet), Reported(value("c"), 2)
    )
    assert f'"_trace_id":"{TRACE_ID:032x}"'.encode() in index.documents["a"].source
    assert f'"_trace_id":"{9:032x}"'.encode() in index.documents["b"].source
    assert b"_trace_id" not in index.documents["c"].source


async def test_a_dead_letter_names_the_span_that_sent_it_and_the_events_span_the_error() -> None:
    _, dead, kept = await processed(
        Reported(b"not an event", 0, headers=HEADERS), Reported(value("b"), 1, headers=HEADERS)
    )
    (letter,) = dead.records
    (sending,) = [span for span in kept.get_finished_spans() if span.name == "send dlq"]
    headers = dict(letter.headers)
    assert sending.context is not None
    assert headers["dead-letter-traceparent"] == traceparent(TRACE_ID, sending.context.span_id)
    assert headers["traceparent"] == HEADERS[0][1]
    assert outcomes(kept) == ["dead_lettered", "indexed"]
    errors = [reported(span)["error.type"] for span in kept.get_finished_spans() if "error.type" in reported(span)]
    assert errors == ["invalid_json"]


async def test_a_batchs_stages_are_its_children() -> None:
    _, _, kept = await processed(Reported(value("a"), 0))
    batch = kept.get_finished_spans()[-1]
    stages = [span.name for span in kept.get_finished_spans() if span.parent and span.parent == batch.context]
    assert stages == ["decode", "enrich", "bulk"]


class Source:
    """Hands the records out once."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = list(records)
        self.dry = asyncio.Event()

    async def poll(self) -> Polled:
        found, self._records = self._records, []
        if not found:
            self.dry.set()
            await asyncio.sleep(0.001)
        return Polled(found)

    def begin_from(self, stored: Any) -> None:
        pass

    def is_current(self, _: Polled) -> bool:
        return True

    async def commit(self, polled: Polled) -> None:
        pass

    async def close(self) -> None:
        pass

    async def lag(self) -> Mapping[Partition, Any]:
        return {}


async def test_the_audit_reports_each_sampled_event_what_it_did_with_it() -> None:
    records = [
        Reported(audit_value("a"), 0, headers=HEADERS),
        Reported(b"not an event", 1, headers=HEADERS),
        Reported(audit_value("refused"), 2, headers=HEADERS),
        Reported(audit_value("b"), 3),
    ]
    source = Source(records)
    store = MemoryAudit(refuses=lambda event: event.event.transaction.id == "refused")
    spans, kept = tracing()
    audit = Audit(source=source, store=store, settings=load_settings(), emit=unreported, tracing=spans)
    task = asyncio.create_task(audit.run())
    await source.dry.wait()
    await audit.stop(Deadline.after(0.5))
    await task
    assert outcomes(kept) == ["written", "invalid", "rejected"]
    batch = kept.get_finished_spans()[-1]
    assert [link.context.trace_id for link in batch.links] == [TRACE_ID] * 3
    assert reported(batch)["activity_indexer.events.written"] == 2


class Index:
    async def bulk(self, body: bytes) -> BulkReply:
        return BulkReply(200, taken(body))

    async def prepare(self) -> None:
        pass


async def test_a_bulk_requests_span_says_what_was_sent_and_what_came_back() -> None:
    spans, kept = tracing()
    with spans.batch([], {}):
        await MeasuredIndex(Index(), Calls(unreported, spans), "docs").bulk(b"{}\n{}\n")
    request, _ = kept.get_finished_spans()
    assert reported(request) == {
        "db.system.name": "elasticsearch",
        "db.operation.name": "bulk",
        "db.collection.name": "docs",
        "db.operation.batch.size": 1,
        "db.response.status_code": "200",
        "http.request.method": "POST",
        "http.request.body.size": 6,
        "activity_indexer.elasticsearch.took": 0.25,
    }
