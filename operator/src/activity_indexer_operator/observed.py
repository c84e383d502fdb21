"""What Kafka was seen to hold: values only. What cannot be read is Unknown, which is never taken for zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """Of each partition: where it begins and ends, and where the group reads on."""

    first: Mapping[int, int]
    end: Mapping[int, int]
    position: Mapping[int, int]

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

    def _lags(self) -> list[int]:
        return [max(0, end - self.position.get(number, end)) for number, end in self.end.items()]


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the source. `dead` has as position what full replays have read; None: there is no such topic yet."""

    partitions: Number
    offsets: Offsets | Unknown
    dead: Offsets | Unknown | None


def nothing(unknown: Unknown) -> Observation:
    """A look that showed nothing at all."""
    return Observation(unknown, unknown, unknown)
