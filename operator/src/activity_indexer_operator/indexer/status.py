"""Typed view of an ActivityIndexer's status; a number that is not known is left out, never zero."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from activity_indexer_operator.kube.objects import Condition, View
from activity_indexer_operator.kube.schema import Count, Time, described

REASON: Final = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
CONDITIONS: Final = frozenset(
    {"Ready", "SourceReachable", "ScalingLimited", "Progressing", "Moving", "EventsLost", "DeadLetterEmpty"}
)
"""Types of conditions that are ours."""


class Partitions(View, frozen=True):
    """The topic's partitions."""

    total: Annotated[int | None, described("How many.")] = None
    last_change_time: Annotated[Time | None, described("When the number changed.")] = None


class Lag(View, frozen=True):
    """Events that the group has not committed."""

    total: Annotated[Count | None, described("Of all partitions.")] = None
    max_partition: Annotated[Count | None, described("Of the partition with the most.")] = None
    behind_transaction: Annotated[
        Count | None, described("Of all partitions, those that an open transaction of a producer hides.")
    ] = None


class Rates(View, frozen=True):
    """Events per second."""

    produced: Annotated[Count | None, described("Published.")] = None
    consumed: Annotated[Count | None, described("Settled.")] = None
    per_replica: Annotated[Count | None, described("Settled by one replica when it had enough to do.")] = None


class DeadLetterStatus(View, frozen=True):
    """The dead letters."""

    depth: Annotated[
        Count | None, described("Events in the dead-letter topic that no replay of all of them has read.")
    ] = None
    handled: Annotated[str | None, described("Up to where replays of all of them have read, as partition:offset,…")] = (
        None
    )

    @property
    def positions(self) -> dict[int, int]:
        """`handled` by partition; what cannot be read counts as none."""
        pairs = (pair.partition(":") for pair in (self.handled or "").split(",") if ":" in pair)
        return {int(number): int(offset) for number, _, offset in pairs if number.isdecimal() and offset.isdecimal()}


class DecisionStatus(View, frozen=True):
    """What was decided, from what, and why."""

    policy: Annotated[str, described("The policy.")]
    reason: Annotated[str, described("Why, as a word.")]
    message: Annotated[str, described("From what.")]


class LastScale(View, frozen=True):
    """The last change of replicas by the operator."""

    from_: Annotated[int, described("Replicas before.")] = msgspec.field(name="from")
    to: Annotated[int, described("Replicas after.")]
    reason: Annotated[str, described("Why, as a word.")]
    time: Annotated[Time, described("When.")]


class WorkloadStatus(View, frozen=True):
    """What runs the indexer."""

    kind: Annotated[str, described("Its kind.")]
    name: Annotated[str, described("Its name.")]


class Status(View, frozen=True):
    """What was seen and done: the part that the reconciler of ActivityIndexers writes.

    It is written by server-side apply, so that others may have fields and conditions of their own beside it.
    """

    observed_generation: Annotated[
        Count | None, described("Generation of the spec that this status was made from.")
    ] = None
    workload: WorkloadStatus | None = None
    selector: Annotated[str | None, described("Labels of the pods, for the scale subresource.")] = None
    replicas: Annotated[int | None, described("Replicas that the workload has.")] = None
    ready_replicas: Annotated[int | None, described("Replicas that are ready.")] = None
    desired_replicas: Annotated[
        int | None, described("Replicas that there are to be; with mode DryRun they are not set.")
    ] = None
    partitions: Partitions | None = None
    lag: Lag | None = None
    rates: Rates | None = None
    decision: DecisionStatus | None = None
    dead_letter: DeadLetterStatus | None = None
    last_scale: LastScale | None = None
    conditions: Annotated[
        tuple[Annotated[Condition, described("", properties={"reason": {"pattern": REASON}})], ...],
        described(
            "Ready, SourceReachable, ScalingLimited, Progressing, Moving, EventsLost, DeadLetterEmpty; and, where they "
            "are asked for, ReplayRequested, ReplaySchedule, TombstonesPurged.",
            list_type="map",
            keys=("type",),
            maxItems=16,
        ),
    ] = ()
