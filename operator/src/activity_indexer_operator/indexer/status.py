"""Typed view of an ActivityIndexer's status; a number that is not known is absent, never zero."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from activity_indexer_operator.kube.objects import Body, Condition, View

CONDITIONS: Final = frozenset(
    {"Ready", "SourceReachable", "ScalingLimited", "Progressing", "Moving", "EventsLost", "DeadLetterEmpty"}
)
"""Types of conditions that are ours."""


class Partitions(View, frozen=True):
    """The topic's partitions as last seen."""

    total: int | None = None
    last_change_time: str | None = None


class Lag(View, frozen=True):
    """Events that the group has not committed: of all partitions, and of the one with the most.

    `behind_transaction` are those among them that an open transaction hides.
    """

    total: int | None = None
    max_partition: int | None = None
    behind_transaction: int | None = None


class Rates(View, frozen=True):
    """Events per second, whole numbers: published, settled, and settled by one replica that had enough to do."""

    produced: int | None = None
    consumed: int | None = None
    per_replica: int | None = None


class DeadLetterStatus(View, frozen=True):
    """`depth`: events that no replay of all of them has read; `handled`: up to where one has, partition:offset,…."""

    depth: int | None = None
    handled: str | None = None

    @property
    def positions(self) -> dict[int, int]:
        """`handled` by partition; what cannot be read counts as none."""
        pairs = (pair.partition(":") for pair in (self.handled or "").split(",") if ":" in pair)
        return {int(number): int(offset) for number, _, offset in pairs if number.isdecimal() and offset.isdecimal()}


class DecisionStatus(View, frozen=True):
    """What was decided, from what, and why."""

    policy: str
    reason: str
    message: str


class LastScale(View, frozen=True):
    """The last change of replicas."""

    from_: int = msgspec.field(name="from")
    to: int
    reason: str
    time: str


class WorkloadStatus(View, frozen=True):
    """What runs the indexer."""

    kind: str
    name: str


class Status(View, frozen=True):
    """What was seen and done: the part that the reconciler of ActivityIndexers writes.

    It is written by server-side apply, so that others may have fields and conditions of their own beside it.
    """

    observed_generation: int | None = None
    workload: WorkloadStatus | None = None
    selector: str | None = None
    replicas: int | None = None
    ready_replicas: int | None = None
    desired_replicas: int | None = None
    partitions: Partitions | None = None
    lag: Lag | None = None
    rates: Rates | None = None
    decision: DecisionStatus | None = None
    dead_letter: DeadLetterStatus | None = None
    last_scale: LastScale | None = None
    conditions: tuple[Condition, ...] = ()


def parse_status(value: Body) -> Status:
    """The status behind the API server's JSON; an unreadable one counts as none."""
    try:
        status = msgspec.convert(value, Status)
    except msgspec.ValidationError:
        return Status()
    return replace(status, conditions=tuple(c for c in status.conditions if c.type in CONDITIONS))
