"""Settles documents whose version is taken: the stored document says which of two events is the later one.

This is the only case in which the indexer reads documents: a tie, a copy of an event at another position, and what is
delivered again while no cache knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from activity_indexer.backoff import Backoff
from activity_indexer.document import holds, order_of, with_version
from activity_indexer.errors import DocumentError, Refused, Unavailable
from activity_indexer.event import MAX_TIES, base_version
from activity_indexer.facts import Severity
from activity_indexer.indexing import BulkWriter, Document, Result
from activity_indexer.ports import BulkIndex, Stored
from activity_indexer.reports import Dependency, DependencyChanged, Emit

READ_DOCUMENTS: Final = 1000
"""Documents that are read at once, at most."""

READ_BYTES: Final = 8 * 1024 * 1024
"""Bytes of the documents to be written whose stored ones are read at once: these are about as large."""


class OrderedWriter:
    """Writes documents in the order of their events: of two that share a version, the later one stays."""

    def __init__(self, writer: BulkWriter, index: BulkIndex, backoff: Backoff, emit: Emit) -> None:
        self._writer = writer
        self._index = index
        self._backoff = backoff
        self._emit = emit

    async def write(self, documents: Sequence[Document]) -> None:
        """Returns when every document has a result or an error. Cancelled, those that are not settled have neither."""
        pending = list(documents)
        while pending:
            try:
                await self._writer.write(pending)
            finally:
                shared = [document for document in pending if document.result == Result.SHARED]
                for document in shared:
                    document.result = None
            pending = await self._to_write_on(shared) if shared else []

    async def _to_write_on(self, shared: Sequence[Document]) -> list[Document]:
        """Those that are later than the stored document, with a version above its own; the others are settled."""
        later: list[Document] = []
        for some in _chunks(shared):
            stored = await self._read([document.event.transaction.id for document in some])
            later += [document for document in some if _is_later(document, stored.get(document.event.transaction.id))]
        return later

    async def _read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        attempt = 0
        while True:
            try:
                found = await self._index.read(identifiers)
            except Unavailable as error:
                self._emit(DependencyChanged(Dependency.ELASTICSEARCH, str(error)))
            except Refused as error:
                self._emit(DependencyChanged(Dependency.ELASTICSEARCH, str(error), Severity.BLOCKS))
            else:
                if attempt:
                    self._emit(DependencyChanged(Dependency.ELASTICSEARCH))
                return found
            await asyncio.sleep(self._backoff.delay(attempt))
            attempt += 1


def _is_later(document: Document, stored: Stored | None) -> bool:
    """Whether the document is to be written at the next version; if not, it is settled.

    Then its version is the one at which this very event is stored, or 0.
    A document that does not exist was deleted by hand, which Elasticsearch remembers at the next version for a while.
    """
    event = document.event
    if stored is None:
        return _advance(document, document.taken, is_copy=False)
    if base_version(stored.version) != event.version:  # it was written meanwhile
        document.result = Result.LATE
        return False
    theirs = order_of(stored.source)
    ties = theirs is not None and event.order.ties(theirs)
    is_copy = ties and holds(stored.source, event)
    if theirs is None or event.order > theirs or (event.order == theirs and document.overwrite):
        document.tied = document.tied or (ties and not is_copy)
        return _advance(document, stored.version, is_copy=is_copy and not document.overwrite)
    document.tied = ties and not is_copy and event.order != theirs
    document.version = stored.version if event.order == theirs else 0
    document.result = Result.DUPLICATE if is_copy or event.order == theirs else Result.LATE
    return False


def _advance(document: Document, version: int, *, is_copy: bool) -> bool:
    if version & MAX_TIES < MAX_TIES:
        document.is_copy = is_copy
        document.version = version + 1
        document.lines = with_version(document.lines, document.event.transaction.id, document.version)
        return True
    if is_copy:  # the document says all that the event says
        document.result, document.version = Result.DUPLICATE, 0
    else:
        document.error = DocumentError(
            "too_many_ties", f"expected at most {MAX_TIES} later events of a transaction at one timestamp, got more"
        )
    return False


def _chunks(documents: Sequence[Document]) -> Iterator[Sequence[Document]]:
    start = size = 0
    for at, document in enumerate(documents):
        if at > start and (at - start == READ_DOCUMENTS or size + len(document.lines) > READ_BYTES):
            yield documents[start:at]
            start, size = at, 0
        size += len(document.lines)
    yield documents[start:]
