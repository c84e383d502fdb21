"""The log lines of what happens; problems have theirs in problems.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from activity_indexer.reports import (
    OUTCOMES,
    BatchDecoded,
    BatchSettled,
    CommitFailed,
    DeadLettersWritten,
    EventsLost,
    EventsReadAgain,
    Letter,
    PartitionsAssigned,
    PartitionsRevoked,
    TopicRecreated,
    on,
)
from activity_indexer.telemetry.logging import Repeats, is_debug, log_event
from activity_indexer.telemetry.masking import without_values
from activity_indexer.telemetry.problems import LOSS_ADVICE


class LogLines:
    """The lines of one consumer of the topic: `indexer` or `audit`. What repeats is shown once in a while."""

    def __init__(self, consumer: str = "indexer", clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._clock = clock
        self._log = structlog.get_logger(f"activity_indexer.{consumer}")
        self._repeats = Repeats()

    @on(BatchDecoded)
    def _decoded(self, batch: BatchDecoded) -> None:
        """At debug, a line for each event."""
        if is_debug():
            for event in filter(None, batch.events):
                log_event(event.event_type, event.transaction.id, event.message_id)

    @on(BatchSettled)
    def _settled(self, batch: BatchSettled) -> None:
        if batch.undated:
            self._once_in_a_while(
                "events.undated",
                events=batch.undated,
                reason="the timestamps of their records are not milliseconds since the epoch, or are ahead of this "
                "machine's clock: correct the producer, or set the topic's message.timestamp.type to LogAppendTime",
            )
        totals = batch.totals()
        shown = {outcome: totals[outcome] for outcome in OUTCOMES if outcome in totals}
        self._log.info(
            "batch.settled", events=batch.events, bytes=batch.size, seconds=round(batch.duration, 4), **shown
        )

    @on(DeadLettersWritten)
    def _dead_lettered(self, written: DeadLettersWritten) -> None:
        """At debug a line for each, with the ids of its span; else one of a kind, with the number of the others."""
        if is_debug():
            for each in map(written.letter, written.places):
                with written.trace.event(each.at):
                    self._log.warning("event.dead_lettered", **_fields(each), message=each.failure.error.message)
            return
        first = written.letter(written.places[0])
        error = first.failure.error
        with written.trace.event(first.at):
            self._once_in_a_while(
                "event.dead_lettered",
                error.stage,
                error.code,
                of=len(written.places),
                **_fields(first),
                message=without_values(error.message),
            )

    @on(PartitionsAssigned)
    def _assigned(self, assigned: PartitionsAssigned) -> None:
        numbers = sorted(partition.partition for partition in assigned.partitions)
        self._log.info("partitions.assigned", partitions=numbers)

    @on(PartitionsRevoked)
    def _revoked(self, _: PartitionsRevoked) -> None:
        self._log.info("partitions.revoked")

    @on(CommitFailed)
    def _commit_failed(self, failed: CommitFailed) -> None:
        self._once_in_a_while("offsets.commit_failed", reason=failed.reason)

    @on(EventsReadAgain)
    def _read_again(self, again: EventsReadAgain) -> None:
        self._log.warning("events.read_again", events=again.events)

    @on(EventsLost)
    def _lost(self, lost: EventsLost) -> None:
        loss = lost.loss
        self._log.error(
            "events.lost",
            consumer=self._consumer,
            topic=loss.partition.topic,
            partition=loss.partition.partition,
            reason=loss.reason,
            first_offset=loss.first,
            events=loss.events,
            advice=LOSS_ADVICE[loss.reason],
        )

    @on(TopicRecreated)
    def _recreated(self, recreated: TopicRecreated) -> None:
        self._log.error(
            "topic.recreated",
            consumer=self._consumer,
            topic=recreated.topic,
            advice="the topic was deleted and created again: it is read from its first record, whatever was committed",
        )

    def _once_in_a_while(self, event: str, *kind: str, of: int = 1, **fields: Any) -> None:
        suppressed = self._repeats.suppressed(self._clock(), event, *kind, of=of)
        if suppressed is not None:
            self._log.warning(event, **fields, **({"suppressed": suppressed} if suppressed else {}))


def _fields(letter: Letter) -> dict[str, Any]:
    error = letter.failure.error
    return {
        "stage": error.stage,
        "error": error.code,
        "event_type": letter.event_type,
        "partition": letter.record.partition,
        "offset": letter.record.offset,
        "attempts": letter.failure.attempts,
        "message_id": letter.failure.message_id,
    }
