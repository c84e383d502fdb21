"""Groups of dead letters: counted in bounded memory, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from activity_indexer.dead_letters.advice import advice
from activity_indexer.dead_letters.reasons import field_of
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.timestamps import format_timestamp

MAX_GROUPS: Final = 10_000
"""Groups that are distinguished; beyond that the smallest are counted together."""

Key = tuple[str, ...]
_DAY: Final = 86_400_000_000


def _day(letter: StoredDeadLetter) -> Key:
    return (format_timestamp(letter.failed_at // _DAY * _DAY)[:10],)


BY: Final[Mapping[str, Callable[[StoredDeadLetter], Key]]] = {
    "cause": lambda letter: (letter.stage, letter.error, field_of(letter.message)),
    "field": lambda letter: (field_of(letter.message),),
    "event-type": lambda letter: (letter.facts.event_type,),
    "user": lambda letter: (letter.facts.user_id,),
    "transaction": lambda letter: (letter.facts.transaction_id,),
    "day": _day,
    "partition": lambda letter: (str(letter.partition),),
}
"""What dead letters are grouped by: the words of a group."""


@dataclass(slots=True)
class Group:
    """`first` and `last` are failures, in microseconds since the epoch; `example` is the place of the last one."""

    key: Key
    count: int
    first: int
    last: int
    example: str

    @property
    def advice(self) -> str:
        """What usually helps; empty when the group is not by cause."""
        return advice(self.key[0], self.key[1]) if len(self.key) > 1 else ""


class Groups:
    """Counts dead letters by a key; `total` are all of them, also those of groups that were too small to be kept."""

    def __init__(self, by: str = "cause", limit: int = MAX_GROUPS) -> None:
        self.by = by
        self.total = 0
        self._key = BY[by]
        self._limit = limit
        self._groups: dict[Key, Group] = {}

    def add(self, letter: StoredDeadLetter) -> None:
        """Count one more."""
        self.total += 1
        key, moment = self._key(letter), letter.failed_at
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = Group(key, 1, moment, moment, letter.place)
            if len(self._groups) >= 2 * self._limit:
                self._drop_the_smallest()
            return
        group.count += 1
        group.first = min(group.first, moment)
        if moment >= group.last:
            group.last, group.example = moment, letter.place

    def _drop_the_smallest(self) -> None:
        self._groups = {group.key: group for group in self.largest()[: self._limit]}

    def largest(self, limit: int | None = None) -> list[Group]:
        """The largest groups; of equal ones, by their words. Days are in order."""
        found = list(self._groups.values())
        if self.by == "day":
            found.sort(key=lambda group: group.key)
            return found if limit is None else found[-limit:]
        found.sort(key=lambda group: (-group.count, group.key))
        return found[:limit]

    def beyond(self, limit: int) -> tuple[int, int]:
        """Groups and dead letters that `largest(limit)` leaves out; groups that were dropped are not in the first."""
        shown = self.largest(limit)
        return len(self._groups) - len(shown), self.total - sum(group.count for group in shown)

    def as_json(self, limit: int) -> dict[str, Any]:
        """The largest groups and what is beyond them."""
        groups, letters = self.beyond(limit)
        return {
            "by": self.by,
            "matched": self.total,
            "groups": [group_json(group) for group in self.largest(limit)],
            "others": {"groups": groups, "count": letters},
        }


def group_json(group: Group) -> dict[str, Any]:
    """A group for programs."""
    named = (
        dict(zip(("stage", "error", "field"), group.key, strict=True)) if len(group.key) > 1 else {"key": group.key[0]}
    )
    return {
        **named,
        "count": group.count,
        "first": format_timestamp(group.first),
        "last": format_timestamp(group.last),
        "example": group.example,
        **({"advice": group.advice} if group.advice else {}),
    }
