"""Which dead letters are meant."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.timestamps import format_timestamp

_RANGE: Final = re.compile(r"(\d{1,9}):(\d{1,18})(?:(-)(\d{1,18})?)?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Offsets:
    """Offsets of a partition; `last` is one of them, None: to the end."""

    partition: int
    first: int
    last: int | None

    @classmethod
    def parse(cls, text: str) -> Offsets:
        """From `0:10-200`, `0:10-` or `0:10`. Raises ValueError."""
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"expected partition:first-last such as 0:10-200, 0:10- or 0:10, got {text!r}")
        first = int(match[2])
        last = (int(match[4]) if match[4] else None) if match[3] else first
        if last is not None and last < first:
            raise ValueError(f"expected the first offset before the last, got {text!r}")
        return cls(int(match[1]), first, last)

    def holds(self, partition: int, offset: int) -> bool:
        """Whether a place is among these."""
        return partition == self.partition and self.first <= offset and (self.last is None or offset <= self.last)

    def __str__(self) -> str:
        if self.last == self.first:
            return f"{self.partition}:{self.first}"
        return f"{self.partition}:{self.first}-{'' if self.last is None else self.last}"


@dataclass(frozen=True, slots=True)
class Selection:
    """A dead letter matches when it fits every part that is given; within a part, one of the values is enough.

    `since` (included) and `until` (not included) are in microseconds since the epoch and mean the last failure.
    `partitions` and `offsets` are one part: the places. An empty selection means all.
    """

    stages: frozenset[str] = frozenset()
    errors: frozenset[str] = frozenset()
    event_types: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    transactions: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    partitions: frozenset[int] = frozenset()
    offsets: tuple[Offsets, ...] = ()

    def matches(self, letter: StoredDeadLetter) -> bool:
        """Whether this dead letter is meant."""
        return (
            (not self.stages or letter.stage in self.stages)
            and (not self.errors or letter.error in self.errors)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and self.covers(letter.partition, letter.offset)
            and (not self.event_types or letter.facts.event_type in self.event_types)
            and (not self.users or letter.facts.user_id in self.users)
            and (not self.transactions or letter.facts.transaction_id in self.transactions)
        )

    def covers(self, partition: int, offset: int) -> bool:
        """Whether a place is among those that are meant."""
        if not self.partitions and not self.offsets:
            return True
        return partition in self.partitions or any(each.holds(partition, offset) for each in self.offsets)

    def reach(self, partition: int) -> tuple[int, int | None] | None:
        """First and last offset of a partition that can be meant, None for the last: to the end; None: nothing can."""
        if partition in self.partitions or not (self.partitions or self.offsets):
            return 0, None
        ranges = [each for each in self.offsets if each.partition == partition]
        if not ranges:
            return None
        lasts = [each.last for each in ranges if each.last is not None]
        return min(each.first for each in ranges), max(lasts) if len(lasts) == len(ranges) else None

    def as_json(self) -> dict[str, Any]:
        """The parts that are given, in one stable form."""
        return dict(self._parts())

    def _parts(self) -> Iterator[tuple[str, Any]]:
        for name in ("stages", "errors", "event_types", "users", "transactions", "partitions"):
            if values := getattr(self, name):
                yield name, sorted(values)
        if self.offsets:
            yield "offsets", [str(each) for each in sorted(set(self.offsets), key=_order)]
        for name in ("since", "until"):
            moment = getattr(self, name)
            if moment is not None:
                yield name, format_timestamp(moment)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits, the same for every way to write the same selection."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def __str__(self) -> str:
        reported = (
            f"{name.replace('_', ' ')} {', '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in self._parts()
        )
        return "; ".join(reported) or "all"


def _order(each: Offsets) -> tuple[int, int, float]:
    return each.partition, each.first, float("inf") if each.last is None else each.last
