"""Spans of a replay: each sampled event's trace goes on, from its dead letter to its second life."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from opentelemetry.trace import Link, SpanContext, SpanKind

from activity_common.dead_letter_headers import REPLAY_TRACEPARENT
from activity_common.trace_context import TRACEPARENT, TraceContext, trace_context, traceparent
from activity_indexer.dead_letters.spans import Spans as Written
from activity_indexer.ports import OutRecord
from activity_indexer.replay.ports import Commits, Transactions
from activity_indexer.replay.records import Addressed
from activity_indexer.replay.session import Writing
from activity_indexer.telemetry.tracing.spans import Spans, earlier, remote

REPLAY_ID: Final = "activity_indexer.replay.id"


@dataclass(frozen=True, slots=True)
class _Sending:
    """An event on its way: its producer's span, the one that sends it again, and what came between."""

    topic: str
    origin: SpanContext
    span: SpanContext
    links: list[Link]


class ReplaySpans:
    """Adds spans to the transactions of one replay. `caller` is the trace that the replay is part of."""

    def __init__(self, spans: Spans, replay_id: str, caller: str) -> None:
        self._spans = spans
        self._replay_id = replay_id
        self._caller = trace_context([(TRACEPARENT, caller.encode())])

    def traced(self, writing: Writing) -> Writing:
        """The same, with spans."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[Transactions]:
            async with writing() as transactions:
                yield _Traced(transactions, self._spans, self._replay_id, self._caller)

        return opened


class _Traced:
    """replay.ports.Transactions."""

    def __init__(self, inner: Transactions, spans: Spans, replay_id: str, caller: TraceContext | None) -> None:
        self._inner = inner
        self._spans = spans
        self._replay_id = replay_id
        self._caller = remote(caller) if caller else None

    async def commit(self, records: Sequence[Addressed], positions: Commits) -> Written:
        """Write all of it in one transaction; each event carries the context of the span that sends it."""
        if not records:
            return await self._inner.commit(records, positions)
        sendings: list[_Sending] = []
        reported = [self._stated(each, sendings) for each in records]
        attributes = {**_sending(records[0].topic), REPLAY_ID: self._replay_id}
        links = [Link(each.origin) for each in sendings]
        with self._spans.whole(f"replay {records[0].topic}", self._caller, len(records), attributes, links) as whole:
            started = time.time_ns()
            written = await self._inner.commit(reported, positions)
        for each in sendings:
            self._sent(each, started, whole)
        return written

    def _stated(self, addressed: Addressed, sendings: list[_Sending]) -> Addressed:
        record = addressed.record
        context = trace_context(record.headers)
        if context is None or not context.sampled or not self._spans.samples(origin := remote(context)):
            return addressed
        span = self._spans.new_span(origin.trace_id)
        sendings.append(_Sending(addressed.topic, origin, span, earlier(record.headers)))
        kept = [header for header in record.headers if header[0] != REPLAY_TRACEPARENT]
        header = (REPLAY_TRACEPARENT, traceparent(span.trace_id, span.span_id))
        return addressed._replace(record=OutRecord(record.key, record.value, [*kept, header]))

    def _sent(self, sending: _Sending, started: int, whole: SpanContext | None) -> None:
        self._spans.finished(
            f"send {sending.topic}",
            sending.span,
            sending.origin,
            (started, time.time_ns()),
            {**_sending(sending.topic), REPLAY_ID: self._replay_id},
            kind=SpanKind.PRODUCER,
            links=[*sending.links, *([Link(whole)] if whole else ())],
        )


def _sending(topic: str) -> dict[str, str]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
    }
