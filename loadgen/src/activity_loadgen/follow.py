"""Measures how long events take from Kafka's acknowledgement until a search finds them."""

import asyncio
import time
from dataclasses import dataclass
from itertools import islice
from typing import Final

from activity_loadgen.ledger import Entry
from activity_loadgen.search import IDS_PER_SEARCH, SearchError, SearchIndex

POLL_SECONDS: Final = 0.1
MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the acknowledgement of a transaction's final event to the first search that found it."""

    transactions: int
    p50: float
    p99: float
    longest: float


class Follower:
    """Watches acknowledged transactions become searchable; the resolution is the poll interval.

    A tombstone counts when a search of the index behind the alias finds it.
    """

    def __init__(self, *, timed: bool = True) -> None:
        self._timed = timed
        self._pending: dict[str, tuple[int, int]] = {}
        self._final: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self.error: str | None = None

    def add(self, entry: Entry) -> None:
        """Take in an acknowledged event; only a transaction's greatest version is waited for."""
        if entry.version is not None and entry.version > self._final.get(entry.transaction_id, -1):
            self.expect(entry.transaction_id, entry.version, entry.acked_us)

    def expect(self, transaction_id: str, version: int, acked_us: int) -> None:
        """Wait for this version of the transaction, or a greater one."""
        self._final[transaction_id] = version
        self._seconds.pop(transaction_id, None)
        self._pending.pop(transaction_id, None)
        self._pending[transaction_id] = (version, acked_us)

    def saw(self, versions: dict[str, int], now_us: int) -> None:
        """Note what a search found at that time."""
        for transaction_id, version in versions.items():
            wanted = self._pending.get(transaction_id)
            if wanted is not None and version >= wanted[0]:
                del self._pending[transaction_id]
                self._seconds[transaction_id] = max(0, now_us - wanted[1]) / MICROSECONDS

    @property
    def waiting(self) -> int:
        """Transactions whose final event no search has found yet."""
        return len(self._pending)

    @property
    def total(self) -> int:
        """Transactions followed."""
        return len(self._final)

    def latency(self) -> Latency | None:
        """The times measured; None when there are none, or the acknowledgements were not watched as they came."""
        if not self._timed or not self._seconds:
            return None
        times = sorted(self._seconds.values())
        return Latency(len(times), percentile(times, 50), percentile(times, 99), times[-1])

    async def poll(self, index: SearchIndex) -> None:
        """Ask once for the transactions waited for longest."""
        asked = list(islice(self._pending, IDS_PER_SEARCH))
        if not asked:
            return
        try:
            self.saw(await index.versions(await index.behind_alias(), asked), time.time_ns() // 1000)
            self.error = None
        except SearchError as error:
            self.error = str(error)
        self._rotate(asked)

    async def run(self, index: SearchIndex) -> None:
        """Poll until cancelled."""
        while True:
            started = time.monotonic()
            await self.poll(index)
            await asyncio.sleep(max(0.0, started + POLL_SECONDS - time.monotonic()))

    def _rotate(self, asked: list[str]) -> None:
        """Put those still missing behind the others, so that a few lost ones do not hide the rest."""
        if len(self._pending) > IDS_PER_SEARCH:
            for transaction_id in asked:
                if transaction_id in self._pending:
                    self._pending[transaction_id] = self._pending.pop(transaction_id)


def percentile(ordered: list[float], percent: int) -> float:
    """Nearest-rank percentile of ascending values."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
