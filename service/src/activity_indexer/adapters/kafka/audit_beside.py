"""The audit's consumer beside the indexer: what the indexer has decoded is taken from it, and not fetched again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from activity_indexer.pipeline.decoded_events import DecodedEvents, Run
from activity_indexer.positions import Partition

PATIENCE: Final = 1.0
"""Seconds for which the audit waits for an indexer that is at the same place; then it reads on by itself."""

WORTHWHILE: Final = 200
"""Records that the indexer must have for the audit's client to stop fetching: what it has fetched is thrown away."""


class BesideIndexer:
    """Decides for each partition, again and again, whether its client fetches.

    It does not while the indexer has what comes next, or is about to. It does where the indexer is elsewhere, is past
    what it could keep, or makes no progress. The client's own position moves along, so that all that depends on it (the
    lag, what a topic held that is deleted) needs no other rule.
    """

    def __init__(self, decoded: DecodedEvents) -> None:
        self._decoded = decoded
        self._held: set[Partition] = set()
        self._turn = 0

    @property
    def is_waiting(self) -> bool:
        """Whether the client does not fetch all of its partitions."""
        return bool(self._held)

    def assigned(self, places: Collection[Partition]) -> None:
        """The client has these partitions, and fetches all of them."""
        self._held.clear()
        self._decoded.open(places)

    def take(
        self, client: Any, places: Sequence[Partition], topic_id: str, at_most: int
    ) -> Iterator[tuple[Partition, Run]]:
        """What the indexer has of these partitions, at most this many records; the first one differs each time."""
        self._turn += 1
        first = self._turn % max(1, len(places))
        for place in (*places[first:], *places[:first]):
            position: int | None = client.position_now(place)
            if position is None:
                continue
            at_least = 1 if place in self._held else WORTHWHILE
            run = self._decoded.take(place, position, topic_id, at_most, at_least)
            if run is not None:
                self._hold(client, place)
                client.seek(TopicPartition(*place), run.records[-1].offset + 1)
                at_most -= len(run.records)
                yield place, run
                if at_most == 0:
                    return
            elif self._decoded.is_behind(place, position, PATIENCE):
                self._hold(client, place)
            elif place in self._held:
                self._held.discard(place)
                client.resume(TopicPartition(*place))

    def _hold(self, client: Any, place: Partition) -> None:
        if place not in self._held:
            self._held.add(place)
            client.pause(TopicPartition(*place))
