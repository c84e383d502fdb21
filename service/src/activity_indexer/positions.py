"""Where reading a partition begins, and what was lost before it could be read. Values in, values out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple

RETENTION: Final = "retention"
TRUNCATION: Final = "truncation"
RECREATED: Final = "recreated"
LOSS_REASONS: Final = (RETENTION, TRUNCATION, RECREATED)

_TOPIC_ID: Final = "topic-id="


class Partition(NamedTuple):
    """A topic's partition; equal to the client's own type."""

    topic: str
    partition: int


class Commit(NamedTuple):
    """A committed offset, and the id of the topic that it belongs to; no id: from a version that did not write it."""

    offset: int
    topic_id: str = ""

    @property
    def metadata(self) -> str:
        """What is committed beside the offset."""
        return f"{_TOPIC_ID}{self.topic_id}" if self.topic_id else ""

    @classmethod
    def read(cls, offset: int, metadata: str | None) -> Commit:
        """A commit as the broker keeps it; metadata of other programs says nothing."""
        text = metadata or ""
        return cls(offset, text.removeprefix(_TOPIC_ID) if text.startswith(_TOPIC_ID) else "")

    def belongs_to(self, topic_id: str) -> bool:
        """Whether the offset is one of this topic, as far as that is known."""
        return not self.topic_id or not topic_id or self.topic_id == topic_id


class Bounds(NamedTuple):
    """The first offset that a partition still has, and the one after its last record (the high watermark)."""

    first: int
    end: int


class Ends(NamedTuple):
    """Where a partition ends: the high watermark, and the last stable offset, up to which it can be read.

    They differ while a transaction of a producer is open.
    """

    end: int
    stable: int

    @property
    def held(self) -> int:
        """Offsets that wait behind an open transaction."""
        return max(0, self.end - self.stable)


class Loss(NamedTuple):
    """Events that were gone before they were read: this many offsets, from `first` on.

    `reason` is one of LOSS_REASONS.
    """

    partition: Partition
    reason: str
    first: int
    events: int


class Start(NamedTuple):
    """Where reading begins, and what was lost before that."""

    offset: int
    loss: Loss | None = None


class Begun(NamedTuple):
    """A partition whose reading began: at this offset of the topic with this id."""

    partition: Partition
    commit: Commit
    loss: Loss | None = None


Stored = Callable[[Collection[Partition]], Awaitable[Mapping[Partition, Commit]]]
"""Says where reading of partitions continues."""


def begin(partition: Partition, commit: Commit | None, bounds: Bounds, topic_id: str) -> Start:
    """Where to begin: at what is committed, while it means something in this topic, else at the first record.

    Only the bounds of the log are compared: compaction and the end marks of transactions leave gaps that lose nothing.
    """
    if commit is None or not commit.belongs_to(topic_id):
        return Start(bounds.first)
    if commit.offset < bounds.first:
        return Start(bounds.first, Loss(partition, RETENTION, commit.offset, bounds.first - commit.offset))
    if commit.offset > bounds.end:
        return Start(bounds.first, Loss(partition, TRUNCATION, bounds.end, commit.offset - bounds.end))
    return Start(commit.offset)
