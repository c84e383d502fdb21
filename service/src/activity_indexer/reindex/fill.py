"""Fills an index under construction: from the audit, and from the topic."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

from activity_common.trace_context import trace_context
from activity_indexer.adapters.elasticsearch.index_reader import IndexReader
from activity_indexer.adapters.elasticsearch.index_versions import State, advanced
from activity_indexer.adapters.kafka.topic_reader import Offsets, TopicReader
from activity_indexer.adapters.postgres.audit_reader import AuditReader, Kept
from activity_indexer.errors import EventError
from activity_indexer.event import Event
from activity_indexer.pipeline.decode import decode_record
from activity_indexer.ports import Record
from activity_indexer.reindex.ordered import in_order
from activity_indexer.rewrite.writer import Rewriter, event_of, kept_traces

KEPT_REASONS: Final = 20
"""Different reasons of refusals that are kept."""

T = TypeVar("T")


@dataclass(slots=True)
class Counts:
    """Events read, those that are none (`invalid`), and documents that Elasticsearch refused, by reason."""

    read: int = 0
    invalid: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def refuse(self, reason: str) -> None:
        """Count a refused document; beyond KEPT_REASONS only the number counts."""
        self.refused += 1
        if reason in self.reasons or len(self.reasons) < KEPT_REASONS:
            self.reasons[reason] += 1


class Filler:
    """Writes into one index; `state` is how far it is, at any time: all before it is written.

    Written twice does no harm, for every document carries its event version.
    """

    def __init__(
        self, rewriter: Rewriter, topic: TopicReader, state: State, skew: float, notify: Callable[[int], None]
    ) -> None:
        self._rewriter = rewriter
        self._topic = topic
        self._skew = skew
        self.notify = notify
        self.state = state
        self.counts = Counts()

    async def from_audit(self, audit: AuditReader, old: IndexReader) -> None:
        """All transactions from `state.after` on, and what PostgreSQL refused; `state` follows.

        The audit knows no traces: those of the same versions in the old index are taken over.
        """
        write = partial(self._write_kept, old)
        async with aclosing(_generator(audit.states(self.state.after))) as pages:
            async for page, _ in in_order(pages, write):
                self.state = replace(self.state, after=page[-1].id)
        async for page in audit.all_rejected():
            await write(page)
        self.state = replace(self.state, filled=True)

    async def from_topic(self, ends: Offsets) -> None:
        """All events from `state.offsets` to `ends`; `state` follows."""
        async with aclosing(_generator(self._topic.read(self.state.offsets, ends))) as batches:
            async for records, _ in in_order(batches, self._write_records):
                self.state = advanced(self.state, {records[-1].partition: records[-1].offset + 1})
        self.state = advanced(self.state, ends)

    async def _write_kept(self, old: IndexReader, page: Sequence[Kept]) -> None:
        events: list[Event] = []
        for kept in page:
            try:
                event = event_of(kept)
            except EventError:
                event = None
            if event is None:
                self.counts.invalid += 1
            else:
                events.append(event)
        await self._write(events, await kept_traces(old, events), len(page))

    async def _write_records(self, records: Sequence[Record]) -> None:
        latest = int((time.time() + self._skew) * 1e6)
        events: list[Event] = []
        traces: dict[int, bytes] = {}
        for record in records:
            found = decode_record(record, latest)
            if isinstance(found, EventError):  # the indexer has dead-lettered it
                self.counts.invalid += 1
                continue
            if context := trace_context(record.headers):
                traces[len(events)] = context.trace_id
            events.append(found)
        await self._write(events, traces, len(records))

    async def _write(self, events: Sequence[Event], traces: Mapping[int, bytes], read: int) -> None:
        for document in await self._rewriter.write(events, traces):
            if document.error:
                self.counts.refuse(f"{document.error.code}: {document.error.message}")
        self.counts.read += read
        self.notify(self.counts.read)


def behind(state: State, ends: Offsets, beginnings: Offsets) -> int:
    """Records of the topic that are not read yet."""
    return sum(
        max(0, end - max(state.offsets.get(partition, 0), beginnings.get(partition, 0)))
        for partition, end in ends.items()
    )


async def _generator(pages: AsyncIterator[T]) -> Any:
    async for page in pages:
        yield page


def reported(counts: Counts) -> Mapping[str, Any]:
    """The counts as JSON."""
    return {
        "read": counts.read,
        "invalid": counts.invalid,
        "refused": counts.refused,
        "refusals": dict(counts.reasons.most_common(5)),
    }
