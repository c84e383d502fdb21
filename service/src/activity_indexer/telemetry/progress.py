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
        self._losses: Counter[int] = Counter()

    @on(LoopTicked)
    def _ticked(self, _: LoopTicked) -> None:
        self._health.ticked()

    @on(IntakeTurned)
    def _turned(self, _: IntakeTurned) -> None:
        self._health.polled()

    @on(BatchSettled)
    def _settled(self, _: BatchSettled) -> None:
        self._health.progressed()

    @on(EventsPending)
    def _pending(self, pending: EventsPending) -> None:
        self._health.pending(pending.events)

    @on(PartitionsAssigned)
    def _assigned(self, assigned: PartitionsAssigned) -> None:
        self._health.assigned(len(assigned.partitions))
        for number in sorted(partition.partition for partition in assigned.partitions):
            self._health.partition(number, lost=self._losses.get(number))

    @on(PartitionsRevoked)
    def _revoked(self, _: PartitionsRevoked) -> None:
        self._health.revoked()

    @on(LagMeasured)
    def _lag_measured(self, lag: LagMeasured) -> None:
        self._health.partition(
            lag.partition.partition, lag=lag.events, lag_seconds=lag.seconds, behind_transaction=lag.held
        )

    @on(EventsLost)
    def _lost(self, lost: EventsLost) -> None:
        number = lost.loss.partition.partition
        self._losses[number] += lost.loss.events
        self._health.partition(number, lost=self._losses[number])
