"""Measures how long events take from Kafka's acknowledgement until a search finds them."""

import asyncio
import time
from dataclasses import dataclass
from itertools import islice
from typing import Final

from activity_loadgen.expected import FinalEvent, Ties, final_of, with_entry
from activity_loadgen.ledger import Entry
from activity_loadgen.search import IDS_PER_SEARCH, SearchError, SearchIndex
from activity_loadgen.state import State

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
        self._pending: dict[str, FinalEvent] = {}
        self._latest: dict[str, Ties] = {}
        self._seconds: dict[str, float] = {}
        self.error: str | None = None

    def add(self, entry: Entry) -> None:
        """Take in an acknowledged event; only the one that is the transaction's state is waited for."""
        if entry.version is None:
            return
        known = self._latest.get(entry.transaction_id, ())
        latest = with_entry(known, entry)
        if latest == known:
            return
        self._latest[entry.transaction_id] = latest
        final = final_of(latest)
        if not known or final.order > final_of(known).order:
            self._wait_for(entry.transaction_id, final)
        elif entry.transaction_id in self._pending:  # an earlier copy of what is waited for
            self._pending[entry.transaction_id] = final

    def expect(self, transaction_id: str, event: FinalEvent) -> None:
        """Wait for this event of the transaction, or a later one."""
        self._latest[transaction_id] = (event,)
        self._wait_for(transaction_id, event)

    def _wait_for(self, transaction_id: str, event: FinalEvent) -> None:
        self._seconds.pop(transaction_id, None)
        self._pending.pop(transaction_id, None)
        self._pending[transaction_id] = event

    def saw(self, states: dict[str, State], now_us: int) -> None:
        """Note what a search found at that time."""
        for transaction_id, state in states.items():
            wanted = self._pending.get(transaction_id)
            if wanted is not None and not state.is_before(wanted.version, wanted.order):
                del self._pending[transaction_id]
                self._seconds[transaction_id] = max(0, now_us - wanted.acked_us) / MICROSECONDS

    @property
    def waiting(self) -> int:
        """Transactions whose final event no search has found yet."""
        return len(self._pending)

    @property
    def total(self) -> int:
        """Transactions followed."""
        return len(self._latest)

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
            self.saw(await index.states(await index.behind_alias(), asked), time.time_ns() // 1000)
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
