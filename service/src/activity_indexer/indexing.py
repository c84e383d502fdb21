"""Writes documents until each is settled: the policy of retries, splits and halts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from activity_indexer.backoff import Backoff
from activity_indexer.concurrency import AdaptiveLimit
from activity_indexer.errors import DocumentError, EventError, Refused, Unavailable
from activity_indexer.event import Event, base_version
from activity_indexer.facts import Severity
from activity_indexer.pipeline.outcome import (
    Item,
    ItemError,
    Outcome,
    all_done,
    classify_item,
    classify_request,
    current_version,
    is_push_back,
    pushes_back,
    quoted,
    read_failure,
    read_items,
    same_defect,
)
from activity_indexer.ports import BulkIndex, BulkReply
from activity_indexer.reports import (
    BulkDone,
    BulkOutcome,
    Dependency,
    DependencyChanged,
    DocumentsRetried,
    DocumentsSentAlone,
    Emit,
    RequestsInFlight,
)
from activity_indexer.trial import trial_document

UNAVAILABLE: Final = "unavailable"
UNKNOWN_ANSWER: Final = "unknown_answer"
ISOLATE_AFTER: Final = 3
"""Tries of a request without any verdict, after which it is found out whether the request itself is the reason."""


class Result:
    """What became of a document that is settled."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    LATE = "late"
    SHARED = "shared"
    """Its version is taken by another event or a copy: the stored document says which is later, see ties.py."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a document is tried before it is refused for good.

    `suspect`: further tries after an error that has no known cause. `push_back`: tries alone, over at least
    `push_back_timeout` seconds, of a document that is pushed back while the index takes others.
    """

    suspect: int = 3
    push_back: int = 10
    push_back_timeout: float = 120.0


class Document(msgspec.Struct, eq=False):
    """One document on its way: `lines` are its two lines of the bulk request, `version` is the one in them.

    `result` is set when Elasticsearch has it (or a newer one), `error` when it never will. `overwrite` also replaces
    what the same event wrote. `taken` is the version of the stored document, when another event has this one's;
    `is_copy` says that the stored document says the same, `tied` that it says something else at the same timestamp.
    `passed_before` is how many others had passed when this one was first accused; `vouched` says that the index took
    another document when it refused this one, or just before; `tries_alone` since `alone_since` were pushed back
    meanwhile.
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
    passed_before: int = -1
    vouched: bool = False
    tries_alone: int = 0
    alone_since: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be tried."""
        return self.result is not None or self.error is not None


@dataclass(slots=True)
class _Round:
    """What one request left to do.

    `unheard` means that no document of it was judged, for the `reason` and in the words of `error`.
    """

    again: list[Document] = field(default_factory=list)
    reason: str = ""
    unheard: bool = False
    error: ItemError = field(default_factory=ItemError)


Accused = list[tuple[Document, ItemError]]


class BulkWriter:
    """Sends documents in bulk requests; all batches share one, and so one view of how the server is.

    `trial` is a document that is known to be good and never written: no document is refused for good unless the index
    takes that one. `tries` as a number are those of a suspect.
    """

    def __init__(
        self,
        index: BulkIndex,
        limit: AdaptiveLimit,
        backoff: Backoff,
        emit: Emit,
        tries: Tries | int,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        trial: bytes | None = None,
    ) -> None:
        self._index = index
        self._limit = limit
        self._backoff = backoff
        self._emit = emit
        self._tries = Tries(suspect=tries) if isinstance(tries, int) else tries
        self._now = now
        self._clock = clock
        self._trial = trial or trial_document()
        self._written = asyncio.Event()
        self._troubled = False
        self._unavailable = False
        self._passed = 0
        self._held: set[Document] = set()
        self._alone: set[Document] = set()

    @property
    def alone(self) -> int:
        """Documents that wait alone, since they are refused without a verdict while the index takes others."""
        return len(self._alone)

    async def write(self, documents: Sequence[Document]) -> None:
        """Returns when every document is settled, however long that takes; then each has a result or an error."""
        try:
            await self._write([document for document in documents if document.error is None], 0)
        finally:
            if self._held:
                self._held.difference_update(documents)
            if self._alone:
                self._leave(documents)

    async def _write(self, pending: list[Document], unheard: int) -> None:
        """`unheard` is how often in a row these were sent without a verdict about any of them."""
        attempt = 0
        takes_others = False
        while pending:
            left = await self._send(pending)
            unheard = unheard + 1 if left.unheard else 0
            pending = left.again
            if not pending:
                return
            self._emit(DocumentsRetried(left.reason, len(pending)))
            if unheard >= ISOLATE_AFTER:
                before, takes_others = takes_others, (await self._try())[0] is Outcome.DONE
                if before and takes_others and await self._isolated(pending, left.error):
                    return
                if not takes_others:
                    self._excuse(pending)
            await self._wait(attempt)
            attempt += 1

    async def _wait(self, attempt: int) -> None:
        """Back off, but no longer than until another request passes."""
        self._written.clear()
        delay = self._backoff.delay(attempt)
        try:
            async with asyncio.timeout(delay):
                await self._written.wait()
                await asyncio.sleep(min(delay, self._backoff.delay(0)))
        except TimeoutError:
            return

    async def _send(self, documents: list[Document]) -> _Round:
        body = b"".join([document.lines for document in documents])
        started = time.perf_counter()
        alone = len(documents) == 1 and documents[0] in self._alone
        reply = await self._request(body, alone=alone)
        for document in documents:
            document.attempts += 1
        seconds = time.perf_counter() - started
        outcome, left = await self._take(documents, reply)
        self._emit(BulkDone(outcome, seconds, len(body)))
        return left

    async def _take(self, documents: list[Document], reply: BulkReply | Unavailable) -> tuple[BulkOutcome, _Round]:
        if isinstance(reply, Unavailable):
            return BulkOutcome.RETRY, self._unheard(documents, ItemError(UNAVAILABLE, str(reply)))
        if reply.status != 200:
            return await self._failed(documents, reply)
        try:
            if all_done(reply.body, len(documents)):
                self._all_written(documents)
                return BulkOutcome.DONE, _Round()
            items = read_items(reply.body, len(documents))
        except (ValueError, RecursionError) as error:
            return BulkOutcome.RETRY, self._unheard(documents, ItemError(UNKNOWN_ANSWER, _no_answer(reply.body, error)))
        return await self._settle(documents, items)

    async def _request(self, body: bytes, *, alone: bool = False) -> BulkReply | Unavailable:
        """One exchange in one place; `alone`: push-back is about this body, and no reason for fewer requests."""
        asked = time.perf_counter()
        started = await self._limit.acquire()
        self._emit(RequestsInFlight(self._limit.in_flight, self._limit.limit, time.perf_counter() - asked))
        pushed_back: bool | None = None if alone else True
        try:
            reply = await self._index.bulk(body)
            pushed_back = None if alone else pushes_back(reply.status, reply.body)
        except Unavailable as error:
            return error
        finally:
            self._limit.release(started, pushed_back=pushed_back)
            self._emit(RequestsInFlight(self._limit.in_flight, self._limit.limit))
        return reply

    # One answer

    async def _settle(self, documents: Sequence[Document], items: Sequence[Item]) -> tuple[BulkOutcome, _Round]:
        left = _Round()
        accused: Accused = []
        halted: Accused = []
        passed = self._passed
        for document, item in zip(documents, items, strict=True):
            match classify_item(item):
                case Outcome.DONE:
                    if item.status == 409:
                        _settle_conflict(document, item)
                    else:
                        _written(document)
                    self._passed += 1
                case Outcome.RETRY:
                    left.again.append(document)
                    left.error = item.error if item.error.type else ItemError(str(item.status), item.error.reason)
                case Outcome.HALT:
                    halted.append((document, item.error))
                case Outcome.PERMANENT:
                    accused.append((document, item.error))
                case _ if self._is_final(document):
                    accused.append((document, item.error))
                case _:
                    left.again.append(document)
                    left.reason = "suspect"
        if self._passed > passed:
            for document in documents:
                document.vouched = True
        return await self._after(documents, left, halted, accused, passed)

    async def _after(
        self, documents: Sequence[Document], left: _Round, halted: Accused, accused: Accused, passed: int
    ) -> tuple[BulkOutcome, _Round]:
        self._release(documents)
        if left.error.type:
            left.reason = left.error.type
            left.unheard = len(left.again) == len(documents)
            self._trouble(documents, left.error.words)
        if halted:
            await self._halt(halted[0][1])
            self._hold(halted)
        waiting: Accused = []
        if accused:
            waiting, unsure = await self._judge(accused, passed)
            left.again += unsure
            left.reason = left.reason or "suspect"
        if not left.again and not halted and not waiting:
            self._recover()
        left.again += [document for document, _ in halted] + [document for document, _ in waiting]
        if halted or waiting:
            left.reason = (halted or waiting)[0][1].type
            return BulkOutcome.HALT, left
        return (BulkOutcome.RETRY if left.unheard else BulkOutcome.PARTIAL), left

    async def _failed(self, documents: list[Document], reply: BulkReply) -> tuple[BulkOutcome, _Round]:
        error = read_failure(reply.status, reply.body)
        outcome = classify_request(reply.status, error)
        if outcome is Outcome.RETRY:
            return BulkOutcome.RETRY, self._unheard(documents, ItemError(error.type, f"{reply.status} {error.reason}"))
        if outcome is Outcome.HALT:
            await self._halt(error)
            return BulkOutcome.HALT, _Round(documents, error.type)
        if outcome is Outcome.SPLIT:
            error = ItemError("request_too_large", error.reason)
        if not await self._takes_documents():
            return BulkOutcome.HALT, _Round(documents, error.type)
        if len(documents) == 1:
            return BulkOutcome.SUSPECT, self._blame(documents[0], error, outcome)
        for document in documents:
            document.vouched = True
        finals = [self._is_final(document) for document in documents]
        if outcome is Outcome.SUSPECT and not all(finals):
            return BulkOutcome.SUSPECT, _Round(documents, "suspect")
        self._emit(DocumentsRetried(error.type, len(documents)))
        await self._in_halves(documents, 0)
        return BulkOutcome.SPLIT, _Round()

    async def _in_halves(self, documents: list[Document], unheard: int) -> None:
        """Both at once: what is wrong with one half holds up no other."""
        middle = len(documents) // 2
        async with asyncio.TaskGroup() as halves:
            halves.create_task(self._write(documents[:middle], unheard))
            halves.create_task(self._write(documents[middle:], unheard))

    # No verdict

    def _unheard(self, documents: list[Document], error: ItemError) -> _Round:
        """No answer, or none of Elasticsearch's own."""
        self._trouble(documents, error.reason or error.type, unavailable=True)
        return _Round(documents, error.type, unheard=True, error=error)

    async def _isolated(self, pending: list[Document], error: ItemError) -> bool:
        """Whether these are settled: as the index took others before and after, each half is written by itself."""
        if len(pending) > 1:
            await self._in_halves(pending, ISOLATE_AFTER - 1)
            return True
        return self._refused_alone(pending[0], error)

    def _excuse(self, documents: list[Document]) -> None:
        """Others are refused, too: nothing is held against these."""
        self._leave(documents)
        for document in documents:
            document.tries_alone = 0

    def _refused_alone(self, document: Document, error: ItemError) -> bool:
        """Whether it is refused for good: pushed back often enough, for long enough, while the index took others.

        Any other answer without a verdict is waited for, as nothing says that it is about this document.
        """
        self._recover()
        self._failed_once(document)
        now = self._clock()
        if not document.tries_alone:
            document.alone_since = now
        document.tries_alone += 1
        seconds = now - document.alone_since
        if (
            is_push_back(error)
            and document.tries_alone >= self._tries.push_back
            and seconds >= self._tries.push_back_timeout
        ):
            self._refuse(
                document,
                ItemError(
                    "push_back_never_ends",
                    f"pushed back {document.tries_alone} times alone in {seconds:.0f} s while the index took others, "
                    f"{len(document.lines)} bytes: {error.words}",
                ),
            )
            self._leave([document])
            return True
        self._alone.add(document)
        self._emit(DocumentsSentAlone(len(self._alone), error.words))
        return False

    def _leave(self, documents: Sequence[Document]) -> None:
        """These wait alone no more."""
        before = len(self._alone)
        self._alone.difference_update(documents)
        if len(self._alone) < before:
            self._emit(DocumentsSentAlone(len(self._alone)))

    # A verdict

    async def _try(self) -> tuple[Outcome, ItemError]:
        """How the index answers a document that is known to be good."""
        reply = await self._request(self._trial, alone=True)
        if isinstance(reply, Unavailable):
            return Outcome.RETRY, ItemError(UNAVAILABLE, str(reply))
        if reply.status != 200:
            error = read_failure(reply.status, reply.body)
            return classify_request(reply.status, error), error
        try:
            (item,) = read_items(reply.body, 1)
        except (ValueError, RecursionError) as error:
            return Outcome.RETRY, ItemError(UNKNOWN_ANSWER, _no_answer(reply.body, error))
        return classify_item(item), item.error

    async def _takes_documents(self) -> bool:
        """Whether the index takes a document that is known to be good; if not, the reason is reported."""
        outcome, error = await self._try()
        if outcome is not Outcome.DONE:
            await self._report(outcome, error)
        return outcome is Outcome.DONE

    async def _judge(self, accused: Accused, passed: int) -> tuple[Accused, list[Document]]:
        """Refuse what the index refuses while it takes others: before, at the same time or since, and now.

        The index takes others now when it takes the trial document, or when others passed since a document was accused
        and it is not refused for what the trial document is refused for. `passed` is how many had passed before.
        Returns those that wait, as the index is to blame, and those to be tried once more: the index may have been
        corrected just now.
        """
        outcome, why = await self._try()
        waiting: Accused = []
        unsure: list[Document] = []
        for document, error in accused:
            if document.passed_before < 0:
                document.passed_before = passed
            others_pass = self._passed > document.passed_before and outcome is not Outcome.RETRY
            if outcome is Outcome.DONE and not document.vouched:
                document.vouched = True
                unsure.append(document)
            elif outcome is Outcome.DONE or (others_pass and not same_defect(error, why)):
                self._held.discard(document)
                self._refuse(document, error)
            else:
                document.vouched = False
                waiting.append((document, error))
        if waiting:
            self._hold(waiting)
            await self._report(outcome, why)
        return waiting, unsure

    async def _report(self, outcome: Outcome, error: ItemError) -> None:
        """Why the index does not take a document that is known to be good."""
        if outcome in (Outcome.RETRY, Outcome.SPLIT):
            self._trouble((), error.words, unavailable=True)
        elif outcome is Outcome.HALT:
            await self._halt(error)
        else:
            self._halted(f"the index refuses a document that is known to be good: {error.words}")

    def _blame(self, document: Document, error: ItemError, outcome: Outcome) -> _Round:
        """A document that is refused alone, while the index takes others now: at least for the second time."""
        final = outcome is Outcome.BISECT or self._is_final(document)
        if final and document.vouched:
            self._refuse(document, error)
            return _Round()
        document.vouched = True
        return _Round([document], "suspect")

    def _is_final(self, document: Document) -> bool:
        """Whether a suspect has had all its tries; else this was one of them."""
        self._failed_once(document)
        if document.suspicions >= self._tries.suspect:
            return True
        document.suspicions += 1
        return False

    async def _halt(self, error: ItemError) -> None:
        """A missing index is made again where that is allowed; all else waits for an operator."""
        reason = error.words
        if error.type == "index_not_found_exception":
            try:
                await self._index.prepare()
            except Unavailable as unavailable:
                self._trouble((), str(unavailable), unavailable=True)
                return
            except Refused as refused:
                reason = str(refused)
            else:
                return
        self._halted(reason)

    def _halted(self, reason: str) -> None:
        self._troubled = self._unavailable = True
        self._emit(DependencyChanged(Dependency.ELASTICSEARCH, reason, Severity.BLOCKS))

    def _hold(self, accused: Accused) -> None:
        self._held.update([document for document, _ in accused])

    def _refuse(self, document: Document, error: ItemError) -> None:
        self._failed_once(document)
        document.error = DocumentError(error.type or "unknown_error", error.reason or "Elasticsearch gave no reason")

    def _failed_once(self, document: Document) -> None:
        document.last_failure = self._now()
        document.first_failure = document.first_failure or document.last_failure

    def _trouble(self, documents: Sequence[Document], reason: str, *, unavailable: bool = False) -> None:
        if len(documents) == 1 and documents[0] in self._alone:
            return  # others pass
        self._troubled = True
        self._unavailable = self._unavailable or unavailable
        self._emit(DependencyChanged(Dependency.ELASTICSEARCH, reason))

    def _recover(self) -> None:
        """A request passed: no trouble is left, unless documents wait for an operator."""
        if self._unavailable:
            self._unavailable = False
            self._written.set()
        if self._troubled and not self._held:
            self._troubled = False
            self._emit(DependencyChanged(Dependency.ELASTICSEARCH))

    def _all_written(self, documents: Sequence[Document]) -> None:
        self._passed += len(documents)
        for document in documents:
            document.result = Result.DUPLICATE if document.is_copy else Result.WRITTEN
        self._release(documents)
        self._recover()

    def _release(self, documents: Sequence[Document]) -> None:
        """Those that are settled are waited for no more."""
        if self._held:
            self._held.difference_update([document for document in documents if document.settled])
        if self._alone:
            self._leave([document for document in documents if document.settled])


def _no_answer(body: bytes, error: Exception) -> str:
    return f"200, but no bulk answer ({error}): {quoted(body)}"


def _written(document: Document) -> None:
    document.result = Result.DUPLICATE if document.is_copy else Result.WRITTEN


def _settle_conflict(document: Document, item: Item) -> None:
    current = current_version(item)
    if current is None or base_version(current) != document.event.version:
        document.result = Result.LATE
    else:
        document.result, document.taken = Result.SHARED, current
