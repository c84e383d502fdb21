"""Stops intake when failures stop being the exception."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Breaker:
    """Opens when, of the last `window` events, at least `min_failures` and more than `threshold` of them failed.

    A threshold of 1 never opens it. It closes when somebody says so: what failed has passed at last.
    """

    def __init__(self, threshold: float, window: int, min_failures: int) -> None:
        self._threshold = threshold
        self._window = window
        self._min_failures = min_failures
        self._rounds: deque[tuple[int, int]] = deque()
        self._events = 0
        self._failures = 0
        self._open = False
        self._held = 0

    @property
    def is_open(self) -> bool:
        """Whether intake is stopped."""
        return self._open

    @property
    def share(self) -> float:
        """Share of the window's events that failed."""
        return self._failures / self._events if self._events else 0.0

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

    def record(self, events: int, failures: int) -> bool:
        """A batch had so many events, so many of which failed for good; returns whether the breaker is open now."""
        self._rounds.append((events, failures))
        self._events += events
        self._failures += failures
        while self._events - self._rounds[0][0] >= self._window:
            old_events, old_failures = self._rounds.popleft()
            self._events -= old_events
            self._failures -= old_failures
        if failures and self._failures >= self._min_failures and self.share > self._threshold:
            self._open = True
        return self._open

    def bears(self, events: int, failures: int) -> bool:
        """Whether so many failures among so many events are still the exception."""
        return failures <= self._threshold * events

    def half_open(self) -> None:
        """Intake goes on until the next failure: those who held failures back are gone, the window is kept."""
        self._open = False

    def close(self) -> None:
        """Intake goes on, with nothing held against it."""
        self._rounds.clear()
        self._events = self._failures = 0
        self._open = False
