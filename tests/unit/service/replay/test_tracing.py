"""Spans of a replay: each sampled event's trace goes on through it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON, Sampler
from opentelemetry.trace import SpanKind

from activity_common.trace_context import traceparent
from activity_indexer.ports import OutRecord
from activity_indexer.replay.records import Addressed
from activity_indexer.replay.tracing import ReplaySpans
from activity_indexer.telemetry.tracing.exporting import LinkedSampler
from activity_indexer.telemetry.tracing.spans import Consumed, Spans

FAILED = ("replay-dead-letter-traceparent", traceparent(7, 6))
BEFORE = ("replay-traceparent", traceparent(7, 4))


class Transactions:
    """Keeps what is committed."""

    def __init__(self) -> None:
        self.records: list[Addressed] = []

    async def commit(self, records: Sequence[Addressed], positions: Any) -> Mapping[Any, Any]:
        assert positions == {}
        self.records += records
        return {}


def addressed(*headers: tuple[str, bytes]) -> Addressed:
    return Addressed("events", None, OutRecord(b"k", b"v", headers))


async def sent(
    *records: Addressed, caller: str = "", sampler: Sampler = DEFAULT_ON
) -> tuple[list[Any], list[Addressed]]:
    """The spans of one commit, and the records that were written."""
    kept, inner = InMemorySpanExporter(), Transactions()
    processor = SimpleSpanProcessor(kept)
    provider = TracerProvider(LinkedSampler(sampler), Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(processor)

    @asynccontextmanager
    async def writing() -> AsyncIterator[Transactions]:
        yield inner

    spans = Spans(provider, processor, Consumed("events.dlq", "group", "client"), "1")
    async with ReplaySpans(spans, "r1", caller).traced(writing)() as transactions:  # type: ignore[arg-type]
        await transactions.commit(records, {})
    return list(kept.get_finished_spans()), inner.records


async def test_an_event_is_sent_by_a_span_of_its_own_trace_and_carries_it() -> None:
    (whole, sending), (written,) = await sent(addressed(("traceparent", traceparent(7, 5)), FAILED))
    assert (sending.name, sending.kind) == ("send events", SpanKind.PRODUCER)
    assert (sending.context.trace_id, sending.parent.trace_id, sending.parent.span_id) == (7, 7, 5)
    headers = dict(written.record.headers)
    assert headers["replay-traceparent"] == traceparent(7, sending.context.span_id)
    assert headers["traceparent"] == traceparent(7, 5), "the producer's context stays"
    reported = {(link.attributes or {}).get("activity_indexer.link"): link.context.span_id for link in sending.links}
    assert reported == {"dead_letter": 6, None: whole.context.span_id}
    assert sending.attributes["activity_indexer.replay.id"] == "r1"
    assert sending.attributes["messaging.destination.name"] == "events"


async def test_the_whole_leads_to_each_events_producer_and_is_part_of_its_callers_trace() -> None:
    caller = traceparent(9, 3).decode()
    sampled = addressed(("traceparent", traceparent(7, 5)))
    spans, _ = await sent(sampled, addressed(), caller=caller)
    whole = next(span for span in spans if span.name == "replay events")
    assert (whole.context.trace_id, whole.parent.span_id) == (9, 3)
    assert [(link.context.trace_id, link.context.span_id) for link in whole.links] == [(7, 5)]
    assert whole.attributes["messaging.batch.message_count"] == 2
    assert whole.attributes["activity_indexer.replay.id"] == "r1"


async def test_without_a_caller_the_whole_begins_a_trace() -> None:
    (whole, *_), _ = await sent(addressed())
    assert whole.parent is None


async def test_what_an_earlier_replay_said_gives_way_but_is_linked_to() -> None:
    (_, sending), (written,) = await sent(addressed(("traceparent", traceparent(7, 5)), BEFORE))
    headers = [value for name, value in written.record.headers if name == "replay-traceparent"]
    assert headers == [traceparent(7, sending.context.span_id)]
    assert 4 in {link.context.span_id for link in sending.links}


@pytest.mark.parametrize("sampler", [DEFAULT_ON, ALWAYS_ON])
async def test_an_event_that_is_not_sampled_goes_as_it_is(sampler: Sampler) -> None:
    unsampled = addressed(("traceparent", traceparent(7, 5)[:-2] + b"00"))
    spans, written = await sent(unsampled, addressed(), sampler=sampler)
    assert [span.name for span in spans] == ["replay events"]
    assert written == [unsampled, addressed()]
