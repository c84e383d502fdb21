"""Believes answers of Elasticsearch only while the index behind the alias is the one that is expected."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final, Protocol

from activity_indexer.errors import Refused, Unavailable, UnexpectedIndex
from activity_indexer.facts import Severity
from activity_indexer.ports import BulkIndex, BulkReply, Stored
from activity_indexer.reports import INDEX, Emit, ProblemChanged

CHECK_INTERVAL: Final = 10.0
"""Longest time between two checks (seconds). Under load each commit checks too: this is for an idle indexer."""

RECHECK_INTERVAL: Final = 2.0
"""Time between two checks while the index is not as expected (seconds)."""

CHECK_TIMEOUT: Final = 5.0
"""How long a check may take (seconds): commits wait for it."""

HISTORY: Final = "index_history"
_WRITTEN_TO: Final = re.compile(rb'"_index":"([^"\\]*)"')
_REFUSED: Final = re.compile(rb'"status":4(?!09|29)')


class CheckedIndex(BulkIndex, Protocol):
    """An index that can be checked."""

    @property
    def identity(self) -> str:
        """Names the index and its history."""

    @property
    def has_history(self) -> bool:
        """Whether the history is part of the identity."""

    @property
    def written(self) -> str:
        """The name of the index that takes the alias' writes."""

    async def check(self) -> None:
        """Bring these up to date. Raises Unavailable, Refused, and UnexpectedIndex."""


class Standing(Enum):
    """What holds for all that was settled before a question."""

    SAFE = "safe"
    """It is in the index that is written to: its offsets may be committed."""
    UNKNOWN = "unknown"
    """It cannot be said now: nothing may be committed."""
    REREAD = "reread"
    """Some of it may be missing from the index: it has to be read again from the last commit."""


class IndexWatch:
    """A BulkIndex that checks the index behind the alias: now and then, before each commit, and after odd answers.

    While the index is not as expected, no request is sent and no answer is believed: the alias may have led elsewhere
    for a while. What was settled since the last commit is read again when the index has been corrected, and when
    another index, or an earlier state of it, has taken its place.
    """

    def __init__(
        self,
        index: CheckedIndex,
        bulk: BulkIndex,
        alias: str,
        emit: Emit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._bulk = bulk
        self._names = frozenset({"", alias})
        self._emit = emit
        self._clock = clock
        self._as_expected = asyncio.Event()
        self._as_expected.set()
        self._checking = asyncio.Lock()
        self._checks = 0
        self._checked_at = float("-inf")
        self._failure: Unavailable | Refused | None = None
        self._confirmed: str | None = None
        self._doubt = False
        self._relied = self._relied_safely = 0

    @property
    def as_expected(self) -> bool:
        """Whether the index was as expected when it was checked last."""
        return self._as_expected.is_set()

    @property
    def namespace(self) -> str:
        """The index and its history, to which ids belong; empty when no id can be relied on."""
        return self._index.identity if self._index.has_history and self.as_expected else ""

    def rely(self) -> None:
        """Something is settled by what is remembered of the index, and not by the index itself."""
        self._relied += 1

    async def prepare(self) -> None:
        """Create index, mapping and alias when they are missing. Raises Unavailable or Refused."""
        await self._bulk.prepare()
        self._confirmed = self._confirmed or self._index.identity

    async def bulk(self, body: bytes) -> BulkReply:
        """Send ready NDJSON; returns the expected index's answer, however long that takes. Raises Unavailable."""
        while True:
            await self._as_expected.wait()
            reply = await self._bulk.bulk(body)
            if not self._is_odd(reply):
                return reply
            try:
                await self.check()
            except Refused:
                continue
            if self._is_of_the_index(reply):
                return reply

    async def read(self, identifiers: Sequence[str]) -> Mapping[str, Stored]:
        """Documents of the expected index, by id. Raises Unavailable or Refused."""
        await self._as_expected.wait()
        return await self._bulk.read(identifiers)

    async def check(self) -> None:
        """Check the index once; a check that began after the call serves several callers.

        Raises Unavailable, Refused, and UnexpectedIndex.
        """
        before = self._checks
        async with self._checking:
            if self._checks == before:
                self._checks += 1
                await self._check()
            failure = self._failure
        if failure:
            raise type(failure)(str(failure))

    async def _check(self) -> None:
        self._failure = Unavailable("Elasticsearch: the check of the index was given up")
        try:
            await self._index.check()
        except Refused as error:
            unexpected = isinstance(error, UnexpectedIndex)
            self._failure = UnexpectedIndex(str(error)) if unexpected else Refused(str(error))
            self._doubt = self._doubt or unexpected
            self._as_expected.clear()
            self._emit(ProblemChanged(INDEX, str(error)))
        except Unavailable as error:  # requests report it
            self._failure = Unavailable(str(error))
        else:
            self._failure = None
            self._checked_at = self._clock()
            self._emit(ProblemChanged(INDEX))
            self._as_expected.set()
            self._report_history()

    def _report_history(self) -> None:
        unreadable = f"the history of {self._index.written} may not be read, so that known ids are not relied on"
        self._emit(
            ProblemChanged(
                HISTORY,
                None if self._index.has_history else unreadable,
                Severity.WARNS,
                advice="give the user the privilege `monitor` on the index",
            )
        )

    async def confirm(self, within: float = CHECK_TIMEOUT) -> Standing:
        """Check the index within this time (seconds), and return what holds for all that was settled before the call.

        An acknowledged write needs no more than its acknowledgement when Elasticsearch does not answer now; what was
        settled by a known id does.
        """
        relied = self._relied
        try:
            async with asyncio.timeout(within):
                await self.check()
        except (Unavailable, Refused, TimeoutError):
            certain = relied == self._relied_safely and not self._doubt and self._confirmed == self._index.identity
            return Standing.SAFE if certain else Standing.UNKNOWN
        self._relied_safely = relied
        if not self._doubt and self._confirmed in (self._index.identity, None):
            self._confirmed = self._index.identity
            return Standing.SAFE
        self._doubt, self._confirmed = False, self._index.identity
        return Standing.REREAD

    async def run(self) -> None:
        """Check now and then, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL if self.as_expected else RECHECK_INTERVAL)
            if not self.as_expected or self._clock() - self._checked_at >= CHECK_INTERVAL:
                with suppress(Unavailable, Refused):
                    await self.check()

    def _is_odd(self, reply: BulkReply) -> bool:
        """Whether it is from another index, or refuses documents, which another index would do for its own reasons."""
        if reply.status != 200:
            return reply.status == 400
        return not self._is_of_the_index(reply) or (
            b'"error":{' in reply.body and _REFUSED.search(reply.body) is not None
        )

    def _is_of_the_index(self, reply: BulkReply) -> bool:
        """Whether the first document is in the index that is written to: the alias is looked up once per request."""
        found = _WRITTEN_TO.search(reply.body)
        name = found[1].decode(errors="replace") if found else ""
        return name in self._names or name == self._index.written
