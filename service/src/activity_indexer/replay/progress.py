"""How far a replay is: kept with its read position, in Kafka itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from activity_common.replay_result import COUNTED, Counters
from activity_indexer.ports import Partition

NONE: Final = Counters()


class _Kept(msgspec.Struct, frozen=True):
    """The metadata of a committed offset; `of` tells one replay from another, `at` is its beginning (milliseconds)."""

    v: int
    end: int
    read: int
    sent: int
    skipped: int
    parked: int
    stale: int
    refused: int
    of: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where a replay is in a partition: the next offset, the frozen end (exclusive), and what it has counted there."""

    offset: int
    end: int
    counters: Counters = NONE


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replay is; `fingerprint` is of what it does, `begun` in milliseconds since the epoch."""

    fingerprint: str
    begun: int
    positions: Mapping[Partition, Position]

    @property
    def counters(self) -> Counters:
        """Over all partitions."""
        return total(position.counters for position in self.positions.values())

    @property
    def done(self) -> bool:
        """Whether nothing is left to read."""
        return all(position.offset >= position.end for position in self.positions.values())


def total(counters: Iterable[Counters]) -> Counters:
    """The sum."""
    return sum(counters, NONE)


def metadata(position: Position, fingerprint: str, begun: int) -> str:
    """What is committed with an offset: compact JSON, far below the broker's limit of 4 KiB."""
    counted = {name: getattr(position.counters, name) for name in COUNTED}
    kept = _Kept(v=1, end=position.end, **counted, of=fingerprint, at=begun)
    return msgspec.json.encode(kept).decode()


def standing(committed: Mapping[Partition, tuple[int, str]]) -> Standing | None:
    """From committed offsets and their metadata; None when there are none. Raises ValueError when they are not ours."""
    positions: dict[Partition, Position] = {}
    kept: _Kept | None = None
    for partition, (offset, text) in committed.items():
        kept = msgspec.json.decode(text, type=_Kept)
        counted = Counters(*(getattr(kept, name) for name in COUNTED))
        positions[partition] = Position(offset, kept.end, counted)
    return Standing(kept.of, kept.at, positions) if kept else None
