"""Turns errors that the Kafka client retries itself into warnings: an error means that an operator is needed.

The lines are known by logger, template and error, word for word: all others stay as they are. What goes on for long is
reported by the indexer's own lines, metrics and health.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

PASSING: Final = frozenset(
    {
        "CoordinatorLoadInProgressError",
        "CoordinatorNotAvailableError",
        "GroupCoordinatorNotAvailableError",
        "GroupLoadInProgressError",
        "KafkaConnectionError",
        "LeaderNotAvailableError",
        "NodeNotReadyError",
        "NotCoordinatorError",
        "NotCoordinatorForGroupError",
        "NotLeaderForPartitionError",
        "RequestTimedOutError",
        "StaleMetadata",
    }
)
"""A broker that starts, stops, or is not the right one any more."""

REBALANCING: Final = frozenset({"IllegalGenerationError", "RebalanceInProgressError", "UnknownMemberIdError"})
"""The group has moved on: what was not committed is delivered again."""


class _Routine(NamedTuple):
    """Which argument of the line is the error (an instance or a class), and which errors are routine."""

    at: int
    errors: frozenset[str]


_COORDINATOR: Final = "aiokafka.consumer.group_coordinator"
_FETCHER: Final = "aiokafka.consumer.fetcher"
_CLUSTER: Final = "aiokafka.cluster"

ROUTINE: Final[Mapping[tuple[str, str], _Routine]] = {
    (_COORDINATOR, "Group Coordinator Request failed: %s"): _Routine(0, PASSING),
    (_COORDINATOR, "Error sending %s to node %s [%s] -- marking coordinator dead"): _Routine(2, PASSING),
    (_COORDINATOR, "Heartbeat send request failed: %s. Will retry."): _Routine(0, PASSING),
    (_COORDINATOR, "OffsetCommit failed for group %s due to group error (%s), will rejoin"): _Routine(1, REBALANCING),
    (_FETCHER, "Failed fetch messages from %s: %s"): _Routine(1, PASSING),
    (_FETCHER, "Failed fetch offsets from %s: %s"): _Routine(1, PASSING),
    (_CLUSTER, "Error fetching metadata for topic %s: %s"): _Routine(1, PASSING),
}


class RoutineIsWarned(logging.Filter):
    """Makes routine errors warnings; `least` is the level of the lines that are shown."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self._least = least

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        if not is_routine(record):
            return True
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return record.levelno >= self._least


def is_routine(record: logging.LogRecord) -> bool:
    """Whether the client goes on by itself after what this record calls an error."""
    if record.levelno != logging.ERROR or record.exc_info:
        return False
    routine = ROUTINE.get((record.name, str(record.msg)))
    arguments = record.args
    if routine is None or not isinstance(arguments, tuple) or len(arguments) <= routine.at:
        return False
    error = arguments[routine.at]
    kind = error if isinstance(error, type) else type(error)
    return kind.__module__ == "aiokafka.errors" and kind.__name__ in routine.errors
