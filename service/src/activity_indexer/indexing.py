"""Writes documents until each is settled: the policy of retries, splits and halts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from activity_indexer.backoff import Backoff
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.errors import DocumentError, EventError, Refused, Unavailable
from activity_indexer.event import Event, base_version
from activity_indexer.observer import Observer
from activity_indexer.pipeline.outcome import (
    Item,
    ItemError,
    Outcome,
    all_done,
    classify_item,
    classify_request,
    current_version,
    pushes_back,
    read_failure,
    read_items,
)
from activity_indexer.ports import BulkIndex, BulkReply


class Result:
    """What became of a document that is settled."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    LATE = "late"
    SHARED = "shared"
    """Its version is taken by another event or a copy: the stored document says which is later, see ties.py."""


@dataclass(slots=True, eq=False)
class Document:
    """One document on its way: `lines` are its two lines of the bulk request, `version` is the one in them.

    `result` is set when Elasticsearch has it (or a newer one), `error` when it never will. `overwrite` also replaces
    what the same event wrote. `taken` is the version of the stored document, when another event has this one's;
    `is_copy` says that the stored document says the same, `tied` that it says something else at the same timestamp.
    """

    version: int
    lines: bytes
    event: Event
    overwrite: bool = False
    taken: int = 0
    is_copy: bool = False
    tied: bool = False
    result: str | None = None
    error: EventError | None = None
    suspicions: int = 0
    attempts: int = 0
    first_failure: float = 0.0
    last_failure: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be tried."""
        return self.result is not None or self.error is not None


@dataclass(slots=True)
class _Round:
    """What one request left to do."""

    again: list[Document] = field(default_factory=list)
    reason: str = ""


class BulkWriter:
    """Sends documents in bulk requests; all batches share one, and so one view of how the server is."""

    def __init__(
        self,
        index: BulkIndex,
        limit: AdaptiveLimit,
        backoff: Backoff,
        observer: Observer,
        max_retries: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._limit = limit
        self._backoff = backoff
        self._observer = observer
        self._max_retries = max_retries
        self._now = now
        self._passed = asyncio.Event()
        self._troubled = False
        self._away = False

    async def write(self, documents: Sequence[Document]) -> None:
        """Returns when every document is settled, however long that takes; then each has a result or an error."""
        pending = list(documents)
        attempt = 0
        while pending:
            left = await self._send(pending)
            pending = left.again
            if pending:
                self._observer.retried(left.reason, len(pending))
                await self._wait(attempt)
                attempt += 1

    async def _wait(self, attempt: int) -> None:
        """Back off, but no longer than until another request passes."""
        self._passed.clear()
        delay = self._backoff.delay(attempt)
        try:
            async with asyncio.timeout(delay):
                await self._passed.wait()
                await asyncio.sleep(min(delay, self._backoff.delay(0)))
        except TimeoutError:
            return

    async def _send(self, documents: list[Document]) -> _Round:
        body = b"".join([document.lines for document in documents])
        started = time.perf_counter()
        reply = await self._request(documents, body)
        seconds = time.perf_counter() - started
        outcome, left = await self._take(documents, reply)
        self._observer.bulk_request(outcome, seconds, len(body))
        return left

    async def _take(self, documents: list[Document], reply: BulkReply | Unavailable) -> tuple[str, _Round]:
        if isinstance(reply, Unavailable):
            return "retry", self._retry(documents, "unavailable", str(reply))
        if reply.status != 200:
            return await self._failed(documents, reply)
        try:
            if all_done(reply.body):
                self._recover()
                for document in documents:
                    _written(document)
                return "done", _Round()
            items = read_items(reply.body)
        except (ValueError, RecursionError) as error:
            return "suspect", await self._suspect(documents, ItemError("unknown_answer", str(error)))
        if len(items) != len(documents):
            odd = ItemError("unknown_answer", f"expected {len(documents)} items, got {len(items)}")
            return "suspect", await self._suspect(documents, odd)
        return "partial", await self._settle(documents, items)

    async def _request(self, documents: Sequence[Document], body: bytes) -> BulkReply | Unavailable:
        asked = time.perf_counter()
        started = await self._limit.acquire()
        self._observer.bulk_waited(time.perf_counter() - asked)
        self._observer.concurrency(self._limit.in_flight, self._limit.limit)
        pushed_back = True
        try:
            reply = await self._index.bulk(body)
            pushed_back = pushes_back(reply.status, reply.body)
        except Unavailable as error:
            return error
        finally:
            for document in documents:
                document.attempts += 1
            self._limit.release(started, pushed_back=pushed_back)
            self._observer.concurrency(self._limit.in_flight, self._limit.limit)
        return reply

    async def _settle(self, documents: Sequence[Document], items: Sequence[Item]) -> _Round:
        left = _Round()
        suspects: list[tuple[Document, ItemError]] = []
        halted: list[Document] = []
        for document, item in zip(documents, items, strict=True):
            match classify_item(item):
                case Outcome.DONE:
                    if item.status == 409:
                        _settle_conflict(document, item)
                    else:
                        _written(document)
                case Outcome.PERMANENT:
                    self._refuse(document, item.error)
                case Outcome.RETRY:
                    left.again.append(document)
                    left.reason = item.error.type or str(item.status)
                case Outcome.HALT:
                    halted.append(document)
                    left.reason = item.error.type
                case _:
                    suspects.append((document, item.error))
        return await self._after(left, halted, suspects, items)

    async def _after(
        self,
        left: _Round,
        halted: list[Document],
        suspects: list[tuple[Document, ItemError]],
        items: Sequence[Item],
    ) -> _Round:
        if left.again:
            self._trouble(left.reason)
        if halted:
            error = next(item.error for item in items if classify_item(item) is Outcome.HALT)
            await self._halt(error)
        if not left.again and not halted:
            self._recover()
        for document, error in suspects:
            self._suspected(document, error)
        left.again += halted
        left.again += [document for document, _ in suspects if not document.settled]
        left.reason = left.reason or "suspect"
        return left

    async def _failed(self, documents: list[Document], reply: BulkReply) -> tuple[str, _Round]:
        error = read_failure(reply.status, reply.body)
        outcome = classify_request(reply.status, error)
        match outcome:
            case Outcome.RETRY:
                return "retry", self._retry(documents, error.type, f"{reply.status} {error.reason}")
            case Outcome.HALT:
                await self._halt(error)
                return "halt", _Round(documents, error.type)
            case Outcome.SPLIT | Outcome.BISECT:
                self._recover()
                if outcome is Outcome.SPLIT:
                    error = ItemError("request_too_large", error.reason)
                return "split", await self._halve(documents, error)
            case _:
                return "suspect", await self._suspect(documents, error)

    async def _halve(self, documents: list[Document], error: ItemError) -> _Round:
        if len(documents) == 1:
            self._refuse(documents[0], error)
            return _Round()
        self._observer.retried(error.type, len(documents))
        middle = len(documents) // 2
        await self.write(documents[:middle])
        await self.write(documents[middle:])
        return _Round()

    async def _suspect(self, documents: list[Document], error: ItemError) -> _Round:
        """An answer that nobody can explain: after the last try, halves find out which document is to blame."""
        if len(documents) > 1 and all(document.suspicions >= self._max_retries for document in documents):
            return await self._halve(documents, error)
        alone = len(documents) == 1
        for document in documents:
            self._suspected(document, error, final=alone)
        return _Round([document for document in documents if not document.settled], "suspect")

    def _suspected(self, document: Document, error: ItemError, *, final: bool = True) -> None:
        self._failed_once(document)
        if document.suspicions >= self._max_retries and final:
            self._refuse(document, error)
        else:
            document.suspicions += 1

    def _retry(self, documents: list[Document], reason: str, detail: str) -> _Round:
        self._trouble(detail or reason, away=True)
        return _Round(documents, reason)

    async def _halt(self, error: ItemError) -> None:
        """A missing index is made again where that is allowed; all else waits for people."""
        reason = f"{error.type}: {error.reason}"
        if error.type == "index_not_found_exception":
            try:
                await self._index.prepare()
            except Unavailable as away:
                self._trouble(str(away), away=True)
                return
            except Refused as refused:
                reason = str(refused)
            else:
                return
        self._troubled = self._away = True
        self._observer.halted(reason)

    def _refuse(self, document: Document, error: ItemError) -> None:
        self._failed_once(document)
        document.error = DocumentError(error.type or "unknown_error", error.reason or "Elasticsearch gave no reason")

    def _failed_once(self, document: Document) -> None:
        document.last_failure = self._now()
        document.first_failure = document.first_failure or document.last_failure

    def _trouble(self, reason: str, *, away: bool = False) -> None:
        self._troubled = True
        self._away = self._away or away
        self._observer.outage(reason)

    def _recover(self) -> None:
        if self._away:
            self._away = False
            self._passed.set()
        if self._troubled:
            self._troubled = False
            self._observer.recovered()


def _written(document: Document) -> None:
    document.result = Result.DUPLICATE if document.is_copy else Result.WRITTEN


def _settle_conflict(document: Document, item: Item) -> None:
    current = current_version(item)
    if current is None or base_version(current) != document.event.version:
        document.result = Result.LATE
    else:
        document.result, document.taken = Result.SHARED, current
