"""Alive means moving: what the parts report, and what follows from it. No I/O; the clock is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

LOOP_LIMIT: Final = 15.0
"""Seconds without a tick of the event loop after which it counts as stalled, when `stall_timeout` is longer."""


class Verdict(NamedTuple):
    """An answer to a probe. Reasons may also explain a good answer, such as a wait for a server."""

    ok: bool
    reasons: list[str]


class Health:
    """Collects reports and answers probes.

    `clock` gives seconds, monotonic. `stall_timeout` is the time (seconds) without a sign of progress after which
    the process counts as dead. A wait is explained by `waiting`, told again at every try: a wait of which
    nothing was heard for longer is a stall, too. While blocked nobody expects progress, as people are needed.
    """

    def __init__(self, clock: Callable[[], float], stall_timeout: float) -> None:
        self._clock = clock
        self._stall_timeout = stall_timeout
        now = clock()
        self._ticked = self._polled = self._progressed = self._pending_since = now
        self._pending = 0
        self._waits: dict[str, tuple[str, float]] = {}
        self._blocks: dict[str, str] = {}
        self._notes: dict[str, tuple[str, float]] = {}
        self._partitions: int | None = None
        self._started = self._draining = False

    # Reports

    def started(self) -> None:
        """Every part runs; from now on polls are expected."""
        self._started = True
        self._polled = self._progressed = self._clock()

    def assigned(self, partitions: int) -> None:
        """The group has given this member so many partitions; with none it is an idle spare, and ready."""
        self._partitions = partitions
        self.progressed()

    def revoked(self) -> None:
        """A rebalance took the partitions away."""
        self._partitions = None

    def ticked(self) -> None:
        """The event loop came to a timer."""
        self._ticked = self._clock()

    def polled(self) -> None:
        """The consumer asked for events and got an answer, if an empty one."""
        self._polled = self._clock()

    def progressed(self) -> None:
        """Something was settled; so no wait goes on, or it will be told again."""
        self._progressed = self._clock()
        self._waits.clear()

    def pending(self, events: int) -> None:
        """So many events are known and not settled: in flight, buffered, or left in the partitions.

        Only count what can be settled: a transaction's marker at the end of a partition never is.
        """
        if events and not self._pending:
            self._pending_since = self._clock()
        self._pending = events

    def waiting(self, code: str, reason: str, seconds: float = 0.0) -> None:
        """No progress for a known reason (an outage, a pause, an open breaker); the next try is in so many seconds.

        `code` is a stable word, the key of this wait.
        """
        self._waits[code] = (reason, self._clock() + seconds)

    def resumed(self, code: str) -> None:
        """The wait with this code is over."""
        if self._waits.pop(code, None) is not None:
            self._restart()

    def blocked(self, code: str, reason: str) -> None:
        """Nothing can go on until people act: not ready, with this reason. `code` is a stable word."""
        self._blocks[code] = reason

    def unblocked(self, code: str) -> None:
        """The block with this code is gone."""
        if self._blocks.pop(code, None) is not None:
            self._restart()

    def noted(self, code: str, text: str, seconds: float = float("inf")) -> None:
        """Something that an operator should know, though this indexer does its part; shown for so long."""
        self._notes[code] = (text, self._clock() + seconds)

    def forgotten(self, code: str) -> None:
        """The note with this code is no longer true."""
        self._notes.pop(code, None)

    def draining(self) -> None:
        """The end has begun; its length is limited elsewhere."""
        self._draining = True

    # Answers

    def startup(self) -> Verdict:
        """Whether the start is complete."""
        if self._started:
            return Verdict(True, [])
        return Verdict(False, self._explanations() or ["starting"])

    def live(self) -> Verdict:
        """Whether a restart would be no better: the loop ticks, events are asked for and, if there are any, settled."""
        if stalls := self._stalls():
            return Verdict(False, stalls)
        return Verdict(True, self._explanations())

    def ready(self) -> Verdict:
        """Whether this indexer is doing its part of the group's work, or would if there were any."""
        reasons = [f"{code}: {reason}" for code, reason in self._blocks.items()]
        if self._draining:
            reasons.append("draining")
        if not self._started:
            reasons.append("starting")
        elif self._partitions is None:
            reasons.append("no assignment: the group is being rebalanced")
        reasons += self._stalls()
        return Verdict(not reasons, reasons + self._waiting() + self.notes())

    def notes(self) -> list[str]:
        """What an operator should know, though it is no reason not to be ready."""
        now = self._clock()
        return [f"{code}: {text}" for code, (text, until) in self._notes.items() if now <= until]

    def _stalls(self) -> list[str]:
        now = self._clock()
        stalls = []
        if now - self._ticked > min(LOOP_LIMIT, self._stall_timeout):
            stalls.append(f"event loop stalled: no tick for {now - self._ticked:.0f} s")
        if self._started and not self._draining and not self._blocks and not self._waiting():
            stalls += self._standstills(now)
        return stalls

    def _standstills(self, now: float) -> list[str]:
        found = []
        if now - self._polled > self._stall_timeout:
            found.append(f"consumer stalled: no poll for {now - self._polled:.0f} s")
        since = max(self._progressed, self._pending_since)
        if self._pending and now - since > self._stall_timeout:
            found.append(f"pipeline stalled: {self._pending} events pending, none settled for {now - since:.0f} s")
        return found

    def _explanations(self) -> list[str]:
        return [f"{code}: {reason}" for code, reason in self._blocks.items()] + self._waiting()

    def _waiting(self) -> list[str]:
        now = self._clock()
        return [
            f"waiting: {code}: {reason}"
            for code, (reason, until) in self._waits.items()
            if now - until <= self._stall_timeout and code not in self._blocks
        ]

    def _restart(self) -> None:
        self._polled = self._progressed = self._clock()
