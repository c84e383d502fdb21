"""Alive means progress: what the parts report, and what follows from it. No I/O; the clocks are given.

Everything that does not move or needs attention is a Fact. The probes, the status page and `activity-indexer status`
show the same facts, and nothing else decides whether the indexer is live or ready.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from activity_indexer.facts import Fact, PartitionFacts, Severity

LOOP_LIMIT: Final = 15.0
"""Seconds without a tick of the event loop after which it counts as stalled, when `stall_timeout` is longer."""

_ORDER: Final = (Severity.BLOCKS, Severity.STALLS, Severity.WAITS, Severity.WARNS)


class Verdict(NamedTuple):
    """An answer to a probe. Reasons may also explain a good answer, such as a wait for a server."""

    ok: bool
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class _Entry:
    fact: Fact
    until: float
    """On the monotonic clock; after that the fact is no longer believed."""


class Health:
    """Collects facts and answers probes.

    `clock` gives seconds, monotonic; `wall` Unix seconds. `stall_timeout` is the time (seconds) without a sign of
    progress after which the process counts as stalled. A wait is explained by `waiting`, reported again at every try: a
    wait without news for longer is a stall, too. While blocked no progress is expected: an operator has to act.
    """

    def __init__(self, clock: Callable[[], float], stall_timeout: float, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._stall_timeout = stall_timeout
        now = clock()
        self._ticked = self._polled = self._progressed = self._pending_since = now
        self._pending = 0
        self._entries: dict[tuple[str, Severity, str], _Entry] = {}
        self._assigned: int | None = None
        self._partitions: dict[int, PartitionFacts] = {}
        self._started = self._draining = False
        self._phase_since = wall()

    # Reports

    def started(self) -> None:
        """Every part runs; from now on polls are expected."""
        self._started = True
        self._phase_since = self._wall()
        self._polled = self._progressed = self._clock()

    def assigned(self, partitions: int) -> None:
        """The group has assigned this number of partitions; with none it is an idle spare, and ready."""
        self._assigned = partitions
        self.progressed()

    def revoked(self) -> None:
        """A rebalance took the partitions away."""
        if self._assigned is not None:
            self._phase_since = self._wall()
        self._assigned = None
        self._partitions.clear()

    def partition(self, number: int, **values: Any) -> None:
        """Numbers of an assigned partition, by the names of PartitionFacts; those that are not given stay."""
        known = self._partitions.get(number, PartitionFacts())
        self._partitions[number] = msgspec.structs.replace(known, **values)

    def ticked(self) -> None:
        """The event loop came to a timer."""
        self._ticked = self._clock()

    def polled(self) -> None:
        """The consumer asked for events and got an answer, possibly an empty one."""
        self._polled = self._clock()

    def progressed(self) -> None:
        """Something was settled: no wait goes on, or it will be reported again."""
        self._progressed = self._clock()
        for key in [key for key in self._entries if key[1] is Severity.WAITS]:
            del self._entries[key]

    def pending(self, events: int) -> None:
        """The number of events that are known and not settled: in flight, buffered, or left in the partitions.

        Only count what can be settled: a transaction's marker at the end of a partition never is.
        """
        if events and not self._pending:
            self._pending_since = self._clock()
        self._pending = events

    def waiting(self, code: str, reason: str, seconds: float = 0.0, subject: str = "") -> None:
        """No progress for a known reason (an outage, a pause, an open breaker); the next try is in `seconds`.

        `code` is a stable word, the key of this wait.
        """
        until = self._clock() + seconds + self._stall_timeout
        self._enter(code, reason, Severity.WAITS, subject, "", until)

    def blocked(self, code: str, reason: str, subject: str = "", advice: str = "") -> None:
        """Work cannot go on until an operator acts: not ready, with this reason. `code` is a stable word."""
        self._enter(code, reason, Severity.BLOCKS, subject, advice)

    def warned(self, code: str, reason: str, subject: str = "", advice: str = "", seconds: float = math.inf) -> None:
        """Work goes on, and an operator has to look. The fact is dropped by `settled`, or after `seconds`."""
        self._enter(code, reason, Severity.WARNS, subject, advice, self._clock() + seconds)

    def settled(self, code: str, subject: str | None = None) -> None:
        """All facts with this code (and this subject) are gone, whatever their severity; it may not have been one."""
        gone = [key for key in self._entries if key[0] == code and subject in {None, key[2]}]
        for key in gone:
            del self._entries[key]
        if any(severity is not Severity.WARNS for _, severity, _ in gone):
            self._restart()

    def draining(self) -> None:
        """The shutdown has begun; its length is limited elsewhere."""
        if not self._draining:
            self._phase_since = self._wall()
        self._draining = True

    # Answers

    def facts(self) -> list[Fact]:
        """All that holds now, the gravest first; in the order in which it was reported."""
        found = [*self._reported(), *self._phases(), *self._stalls()]
        return sorted(found, key=lambda fact: _ORDER.index(fact.severity))

    def partitions(self) -> dict[int, PartitionFacts]:
        """What is known of the assigned partitions, by number."""
        return dict(sorted(self._partitions.items()))

    def startup(self) -> Verdict:
        """Whether the start is complete."""
        if self._started:
            return Verdict(True, [])
        facts = [fact for fact in self._reported() if fact.severity is not Severity.WARNS] or self._phases()
        return _verdict(facts, ok=False)

    def live(self) -> Verdict:
        """Whether a restart would not help: the loop ticks, events are fetched and, if there are any, settled."""
        if stalls := self._stalls():
            return _verdict(stalls, ok=False)
        return _verdict(sorted(self._reported(), key=lambda fact: _ORDER.index(fact.severity)), ok=True)

    def ready(self) -> Verdict:
        """Whether this indexer is doing its part of the group's work, or would if there were any."""
        facts = self.facts()
        return _verdict(facts, ok=all(fact.severity in {Severity.WAITS, Severity.WARNS} for fact in facts))

    def _enter(
        self, code: str, reason: str, severity: Severity, subject: str, advice: str, until: float = math.inf
    ) -> None:
        key = (code, severity, subject)
        known = self._entries.get(key)
        since = known.fact.since if known and known.until >= self._clock() else self._wall()
        fact = Fact(code=code, severity=severity, reason=reason, since=since, subject=subject, advice=advice)
        self._entries[key] = _Entry(fact, until)

    def _reported(self) -> list[Fact]:
        now = self._clock()
        for key in [key for key, entry in self._entries.items() if entry.until < now and key[1] is Severity.WARNS]:
            del self._entries[key]
        return [
            entry.fact
            for (code, severity, subject), entry in self._entries.items()
            if entry.until >= now
            and not (severity is Severity.WAITS and (code, Severity.BLOCKS, subject) in self._entries)
        ]

    def _phases(self) -> list[Fact]:
        return [
            Fact(code=code, severity=Severity.BLOCKS, reason=reason, since=self._phase_since)
            for code, reason, holds in (
                ("draining", "", self._draining),
                ("starting", "", not self._started),
                ("no_assignment", "the group is being rebalanced", self._started and self._assigned is None),
            )
            if holds
        ]

    def _stalls(self) -> list[Fact]:
        now = self._clock()
        stalls = []
        if now - self._ticked > min(LOOP_LIMIT, self._stall_timeout):
            stalls.append(self._stall("event_loop_stalled", "no tick", now - self._ticked))
        explained = any(fact.severity is not Severity.WARNS for fact in self._reported())
        if self._started and not self._draining and not explained:
            stalls += self._standstills(now)
        return stalls

    def _standstills(self, now: float) -> Iterator[Fact]:
        if now - self._polled > self._stall_timeout:
            yield self._stall("consumer_stalled", "no poll", now - self._polled)
        idle = now - max(self._progressed, self._pending_since)
        if self._pending and idle > self._stall_timeout:
            yield self._stall("pipeline_stalled", f"{self._pending} events pending, none settled", idle)

    def _stall(self, code: str, what: str, seconds: float) -> Fact:
        reason = f"{what} for {seconds:.0f} s"
        return Fact(code=code, severity=Severity.STALLS, reason=reason, since=self._wall() - seconds)

    def _restart(self) -> None:
        self._polled = self._progressed = self._clock()


def _verdict(facts: list[Fact], *, ok: bool) -> Verdict:
    return Verdict(ok, [fact.text for fact in facts])
