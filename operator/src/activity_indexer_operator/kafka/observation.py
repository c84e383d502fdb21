"""What Kafka was seen to hold: values only. What cannot be read is Unknown, which is never taken for zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class SourceReason(StrEnum):
    """Why a number could not be read; reasons of the condition SourceReachable."""

    FETCHED = "MetadataFetched"
    UNREACHABLE = "BrokerUnreachable"
    NO_TOPIC = "TopicNotFound"
    UNAUTHORIZED = "Unauthorized"
    PARTIAL = "PartialMetadata"
    NO_SECRET = "SecretNotUsable"  # noqa: S105 - the name of a reason
    SHRUNK = "PartitionsShrunk"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A number that could not be read, and why."""

    reason: str
    message: str


Number: TypeAlias = int | Unknown


@dataclass(frozen=True, slots=True)
class Offsets:
    """Of each partition: where it begins and ends, and where the group reads on.

    `committed` is what the group has committed, which may be before the beginning; `stable` where a transaction that is
    still open begins, else the end. A partition of which that is not known is left out.
    """

    first: Mapping[int, int]
    end: Mapping[int, int]
    position: Mapping[int, int]
    committed: Mapping[int, int] = field(default_factory=dict)
    stable: Mapping[int, int] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """Events that the group has not committed."""
        return sum(self._lags())

    @property
    def max_lag(self) -> int:
        """The same of the partition that has the most."""
        return max(self._lags(), default=0)

    @property
    def produced(self) -> int:
        """Events ever published; its growth is the rate of production."""
        return sum(self.end.values())

    @property
    def settled(self) -> int:
        """Events ever settled; its growth is the rate of consumption."""
        return sum(self.position.values())

    @property
    def lags(self) -> dict[int, int]:
        """Events that the group has not committed, by partition."""
        return {number: max(0, end - self.position.get(number, end)) for number, end in self.end.items()}

    @property
    def lost(self) -> dict[int, int]:
        """Events that were removed before the group had read them, by partition; only where there are any."""
        gaps = {number: self.first.get(number, 0) - at for number, at in self.committed.items()}
        return {number: gap for number, gap in gaps.items() if gap > 0}

    @property
    def hidden(self) -> dict[int, int]:
        """Events that an open transaction hides, by partition; only where there are any. The lag counts them, too."""
        behind = {number: self.end[number] - at for number, at in self.stable.items() if number in self.end}
        return {number: count for number, count in behind.items() if count > 0}

    def _lags(self) -> list[int]:
        return list(self.lags.values())


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the source. `dead` has as position what full replays have read; None: there is no such topic yet."""

    partitions: Number
    offsets: Offsets | Unknown
    dead: Offsets | Unknown | None


def nothing(unknown: Unknown) -> Observation:
    """A look that showed nothing at all."""
    return Observation(unknown, unknown, unknown)
