"""Stops intake when the sink refuses most events; invalid input never does."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

NEARLY_ALL: Final = 0.9
"""Share of a transaction type's events whose enrichment must fail before that stops intake."""


class _Window:
    """Failures among the latest events."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rounds: deque[tuple[int, int]] = deque()
        self._events = 0
        self.failures = 0

    @property
    def share(self) -> float:
        return self.failures / self._events if self._events else 0.0

    def add(self, events: int, failures: int) -> None:
        self._rounds.append((events, failures))
        self._events += events
        self.failures += failures
        while self._events - self._rounds[0][0] >= self._size:
            old_events, old_failures = self._rounds.popleft()
            self._events -= old_events
            self.failures -= old_failures


class Breaker:
    """Opens when, of the last `window` valid events, at least `min_failures` and more than `threshold` of them failed.

    The same is watched for each transaction type whose enrichment fails, with the share `NEARLY_ALL`. A threshold of 1
    never opens it. While it is open, batches with failures are held and nothing is taken in, except that
    it lets one held batch go and one more poll in now and then (`half_open`). It closes when what was held passes, or
    what was let in does, and until the next failure when the last held batch was let go (`give_up`).
    """

    def __init__(self, threshold: float, window: int, min_failures: int) -> None:
        self._threshold = threshold
        self._size = window
        self._min_failures = min_failures
        self._window = _Window(window)
        self._types: dict[str, _Window] = {}
        self._open = False
        self._held = 0
        self._polls = 0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether intake is stopped."""
        return self._open

    @property
    def share(self) -> float:
        """Share of the events that failed: of all, or of the transaction type that is worst."""
        return max([self._window.share, *(window.share for window in self._types.values())])

    @property
    def held(self) -> int:
        """How many batches wait for it to close."""
        return self._held

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A batch waits for it to close."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def lets_in(self) -> bool:
        """Whether to poll: while it is open, once each time it is half-open."""
        return not self._open or self._polls > 0

    def polled(self, records: int) -> None:
        """This many records were taken in."""
        if records and self._polls:
            self._polls -= 1

    def record(self, events: int, failures: int) -> bool:
        """A batch had this many valid events, this many of which failed for good; returns whether it is open now."""
        if not events:
            return self._open
        self._window.add(events, failures)
        if self._trying and self.bears(events, failures):
            self.close()
        elif failures and self._trips(self._window, self._threshold):
            self._open = True
        return self._open

    def record_enriched(self, events: Counter[str], failures: Counter[str]) -> bool:
        """The same for enrichment, by transaction type; `events` may lack types that never failed."""
        for kind in failures.keys() | self._types.keys():
            window = self._types.setdefault(kind, _Window(self._size))
            window.add(events[kind], failures[kind])
            if failures[kind] and self._trips(window, max(NEARLY_ALL, self._threshold)):
                self._open = True
            if not window.failures:
                del self._types[kind]
        return self._open

    @property
    def watches_types(self) -> bool:
        """Whether the enrichment of a type failed lately."""
        return bool(self._types)

    def _trips(self, window: _Window, share: float) -> bool:
        return self._threshold < 1 and window.failures >= self._min_failures and window.share > share

    def bears(self, events: int, failures: int) -> bool:
        """Whether this many failures among this many events are still the exception."""
        return failures <= self._threshold * events

    def half_open(self) -> None:
        """One more poll is let in; its first batch with an answer of the index decides."""
        self._polls = 1
        self._trying = True

    def close(self) -> None:
        """Intake goes on, with nothing held against it."""
        self._window = _Window(self._size)
        self._types.clear()
        self._open = self._trying = False
        self._polls = 0

    def give_up(self) -> None:
        """Intake goes on until the next failure: those who held failures back are gone, the window is kept."""
        self._open = self._trying = False
        self._polls = 0
