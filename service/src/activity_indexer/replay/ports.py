"""What a replay needs of the outside: a protocol for each system, and how it can be refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Protocol

from activity_indexer.dead_letters.document_state import StoredDocument
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Notify, Span, Spans
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.positions import Partition
from activity_indexer.replay.records import Addressed

Commits = Mapping[Partition, tuple[int, str]]
"""Offsets to commit or committed, each with its metadata."""


class ReplayRefused(ActivityIndexerError):
    """It may not be done now, or not like this; the message says what to do."""


class Overtaken(ReplayRefused):
    """Another replay of the same dead letters took over; what this one committed stays, the rest was given up."""


class RecordRefused(ActivityIndexerError):
    """The broker takes none of these records, since one is too large for its topic."""


class Letters(Protocol):
    """The dead letters in Kafka."""

    async def spans(self, names: Sequence[str], selection: Selection | None = None) -> dict[Partition, Span]:
        """What is in these topics now and can match. Raises Unavailable or Refused."""

    def read(
        self, spans: Spans, notify: Notify | None = None, holding: bytes = b""
    ) -> AsyncGenerator[Sequence[StoredDeadLetter], None]:
        """All of the spans, in batches; those of a partition in order. Raises Unavailable or Refused.

        Those whose bytes do not hold `holding` may be left out.
        """


class Transactions(Protocol):
    """Records and read positions, written together or not at all."""

    async def commit(self, records: Sequence[Addressed], positions: Commits) -> Spans:
        """Write all of it in one transaction; returns where the records lie.

        Raises Overtaken when another replay took over, RecordRefused, Unavailable or Refused.
        """


class Documents(Protocol):
    """The index, by document."""

    async def states(self, identifiers: Sequence[str]) -> Mapping[str, StoredDocument]:
        """Those of these documents that exist, tombstones among them. Raises Unavailable or Refused."""


class Groups(Protocol):
    """What consumer groups have committed."""

    async def committed(self, group: str, partitions: Iterable[Partition]) -> Commits:
        """Offsets and metadata of those partitions that have them. Raises Unavailable or Refused."""
