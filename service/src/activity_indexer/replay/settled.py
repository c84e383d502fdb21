"""Dead letters whose copies count: what a replay sent and came back, and what was parked."""

from __future__ import annotations

from activity_common.dead_letter_headers import REPLAY_FROM, REPLAY_PARKED_FROM
from activity_indexer.dead_letters.spans import Spans, Tell
from activity_indexer.replay.ports import Letters


class Settled:
    """A set of places (`records.lies_at`) in 8 bytes each and the set's own."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, place: str) -> None:
        """Remember a place."""
        self._hashes.add(hash(place))

    def __contains__(self, place: object) -> bool:
        return bool(self._hashes) and hash(place) in self._hashes

    def __len__(self) -> int:
        return len(self._hashes)


async def find_settled(letters: Letters, spans: Spans, tell: Tell | None = None) -> Settled:
    """The places that later dead letters name as theirs, in these spans. Raises Unavailable or Refused."""
    found = Settled()
    async for batch in letters.read(spans, tell):
        for letter in batch:
            for name in (REPLAY_FROM, REPLAY_PARKED_FROM):
                if place := letter.header(name):
                    found.add(place)
    return found
