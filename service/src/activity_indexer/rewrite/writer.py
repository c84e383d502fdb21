"""Writes documents again from events: the same documents, by the same rules, as the indexer writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from activity_indexer.adapters.elasticsearch.index_reader import IndexReader
from activity_indexer.adapters.elasticsearch.index_writer import action
from activity_indexer.adapters.postgres.audit_reader import Kept
from activity_indexer.backoff import Backoff
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.document import encode, live_document, tombstone
from activity_indexer.errors import EventError
from activity_indexer.event import DELETED, Event, Transaction
from activity_indexer.facts import Severity
from activity_indexer.indexing import BulkWriter, Document, Tries
from activity_indexer.pipeline.decode import decode_event
from activity_indexer.ports import BulkIndex, Enricher
from activity_indexer.reports import DependencyChanged, Emit, Reported
from activity_indexer.settings import ConsumerSettings
from activity_indexer.ties import OrderedWriter
from activity_indexer.timestamps import format_nanoseconds, format_timestamp
from activity_indexer.trial import trial_document

ANY_TIME: Final = 2**62
"""What the audit has was believed once: its timestamps are not judged again."""

NO_TRACES: Final[Mapping[int, bytes]] = MappingProxyType({})


def waits_shown(notify: Callable[[str], None]) -> Emit:
    """For commands: shows only what the command waits for, and when that is over."""

    def emit(reported: Reported) -> None:
        if isinstance(reported, DependencyChanged):
            waits_for = "an operator" if reported.severity is Severity.BLOCKS else reported.dependency.title()
            notify(f"waiting for {waits_for}: {reported.problem}" if reported.problem else "")

    return emit


class Rewriter:
    """Enriches and writes events, however long that takes; a newer document always stays."""

    def __init__(
        self, index: BulkIndex, enricher: Enricher, settings: ConsumerSettings, notify: Callable[[str], None]
    ) -> None:
        limit = AdaptiveLimit(settings.max_in_flight, settings.latency_target, time.monotonic)
        backoff = Backoff(settings.backoff_initial, settings.backoff_max)
        emit = waits_shown(notify)
        tries = Tries(settings.max_retries, settings.push_back_tries, settings.push_back_timeout)
        writer = BulkWriter(index, limit, backoff, emit, tries, trial=trial_document(enricher))
        self._writer = OrderedWriter(writer, index, backoff, emit)
        self._enricher = enricher

    async def write(
        self, events: Sequence[Event], trace_ids: Mapping[int, bytes] = NO_TRACES, *, overwrite: bool = False
    ) -> list[Document]:
        """Documents with their result or error, in the order of the events.

        `trace_ids` are those of the events that belong to a trace, by their place. `overwrite` also replaces documents
        of the same version.
        """
        now = format_timestamp(int(time.time() * 1e6)).encode()
        documents = [
            self._document(event, now, trace_ids.get(at), overwrite=overwrite) for at, event in enumerate(events)
        ]
        await self._writer.write([document for document in documents if not document.settled])
        return documents

    def _document(self, event: Event, now: bytes, trace_id: bytes | None, *, overwrite: bool) -> Document:
        try:
            lines = self._lines(event, now, trace_id)
        except EventError as error:
            return Document(event.version, b"", event, error=error.kept())
        if overwrite:
            lines = action("index", event.transaction.id, event.version) + lines.partition(b"\n")[2]
        return Document(event.version, lines, event, overwrite=overwrite)

    def _lines(self, event: Event, now: bytes, trace_id: bytes | None) -> bytes:
        if event.deleted:
            return tombstone(event)
        return live_document(event, self._enricher(event), now, trace_id)


def event_of(kept: Kept) -> Event | None:
    """The event that the audit keeps; None when its content was removed by hand.

    Raises EventError for a damaged one.
    """
    moment = format_nanoseconds(kept.timestamp)
    if kept.deleted:
        transaction = Transaction(id=kept.id, user_id=kept.user_id)
        return Event(DELETED, transaction, b"", kept.timestamp, moment, kept.version, kept.position, kept.source)
    if kept.body is None:
        return None
    source = b"" if kept.source is None else b',"source":%b' % encode(kept.source)
    envelope = b'{"event_type":"%b","transaction":%b,"timestamp":"%b"%b}'
    text = envelope % (kept.event_type.encode(), kept.body, moment.encode(), source)
    return decode_event(text, ANY_TIME, kept.position)


async def kept_traces(index: IndexReader, events: Sequence[Event]) -> Mapping[int, bytes]:
    """The trace ids that the index has of these very events, by their place. Raises Unavailable or Refused."""
    known = await index.trace_ids([event.transaction.id for event in events if not event.deleted])
    places = {at: known.get((event.transaction.id, event.version)) for at, event in enumerate(events)}
    return {at: trace_id for at, trace_id in places.items() if trace_id}
