"""Polls of a Kafka consumer that end at a number of bytes and at a slice of time: the client itself counts records."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError

from activity_indexer.memory import record_sizes
from activity_indexer.responsive import SLICE

FIRST_STEP: Final = 4
"""Records of the first step of a poll; each further step at most doubles what there is."""

DECAY: Final = 0.5
"""A large record is expected again in the next polls, by this share of its size in each."""

Polled = dict[Any, list[Any]]


class BoundedPoll:
    """Takes records in steps, each as large as the records seen so far let fit into the bytes that are left.

    What the client holds is compressed: a megabyte may become a gigabyte. One record may be larger than the limit.
    The client decompresses while it hands out records, and never lets the event loop have a turn meanwhile: a poll that
    took a slice ends with what there is. `taken` is how many bytes the last call gave.
    """

    def __init__(self, largest: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._largest = float(max(1, largest))
        self._clock = clock
        self.taken = 0

    async def __call__(self, consumer: Any, wait: float, max_records: int, max_bytes: int) -> Polled:
        """Records by partition, waiting for the first at most this many seconds. Raises what the client raises."""
        self._largest = max(1.0, self._largest * DECAY)
        count, left = 0, max_bytes
        self.taken = 0
        polled: Polled = {}
        more = await consumer.getmany(
            timeout_ms=int(wait * 1000), max_records=self._step(FIRST_STEP, max_records, left)
        )
        until = self._clock() + SLICE
        while more:
            for partition, records in more.items():
                polled.setdefault(partition, []).extend(records)
                count += len(records)
                left -= self._measure(records)
            self.taken = max_bytes - left
            if count >= max_records or left < self._largest or self._clock() > until:
                break
            more = _at_once(consumer.getmany(timeout_ms=0, max_records=self._step(count, max_records - count, left)))
        return polled

    def _step(self, at_most: int, records: int, left: int) -> int:
        return max(1, min(at_most, records, int(left / self._largest)))

    def _measure(self, records: Sequence[Any]) -> int:
        sizes = record_sizes(records)
        self._largest = max(self._largest, *sizes)
        return sum(sizes)


def _at_once(question: Coroutine[Any, Any, Polled]) -> Polled:
    """What the client has by now; an error comes again with the next poll.

    The client waits when partitions are being taken. Then the records that were polled before must be handed out first:
    after the rebalance they may be those of another member.
    """
    try:
        question.send(None)
    except StopIteration as answer:
        found: Polled = answer.value
        return found
    except (KafkaError, OSError):
        return {}
    question.close()
    return {}
