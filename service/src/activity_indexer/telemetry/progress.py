"""What moves: the signs of progress that health counts on, and the numbers of each partition."""

from __future__ import annotations

from collections import Counter

from activity_indexer.reports import (
    BatchSettled,
    EventsLost,
    EventsPending,
    IntakeTurned,
    LagMeasured,
    LoopTicked,
    PartitionsAssigned,
    PartitionsRevoked,
    on,
)
from activity_indexer.telemetry.health import Health


class Progress:
    """The progress of the indexer, for its health."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._lost: Counter[int] = Counter()

    @on(LoopTicked)
    def ticked(self, _: LoopTicked) -> None:
        """The event loop came to a timer."""
        self._health.ticked()

    @on(IntakeTurned)
    def turned(self, _: IntakeTurned) -> None:
        """The intake loop went round."""
        self._health.polled()

    @on(BatchSettled)
    def settled(self, _: BatchSettled) -> None:
        """A batch is settled."""
        self._health.progressed()

    @on(EventsPending)
    def pending(self, pending: EventsPending) -> None:
        """Events can be settled and are not yet."""
        self._health.pending(pending.events)

    @on(PartitionsAssigned)
    def assigned(self, assigned: PartitionsAssigned) -> None:
        """A rebalance ended."""
        self._health.assigned(len(assigned.partitions))
        for number in sorted(partition.partition for partition in assigned.partitions):
            self._health.partition(number, lost=self._lost.get(number))

    @on(PartitionsRevoked)
    def revoked(self, _: PartitionsRevoked) -> None:
        """A rebalance began."""
        self._health.revoked()

    @on(LagMeasured)
    def lag_measured(self, lag: LagMeasured) -> None:
        """What of a partition is not settled."""
        self._health.partition(
            lag.partition.partition, lag=lag.events, lag_seconds=lag.seconds, behind_transaction=lag.held
        )

    @on(EventsLost)
    def lost(self, lost: EventsLost) -> None:
        """Events were gone before they were read."""
        number = lost.loss.partition.partition
        self._lost[number] += lost.loss.events
        self._health.partition(number, lost=self._lost[number])
