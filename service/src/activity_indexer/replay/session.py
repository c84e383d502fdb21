"""One replay from its plan to its report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from activity_common.replay_result import Counters, Outcome, Report
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Progress, Span, Spans
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.replay.beginning import begun, check_same, fresh
from activity_indexer.replay.correction import Replacement
from activity_indexer.replay.decide import Decider, Wanted
from activity_indexer.replay.errors import ReplayRefused
from activity_indexer.replay.plan import Plan, written_ends
from activity_indexer.replay.ports import Documents, Groups, Letters, Transactions
from activity_indexer.replay.progress import Standing
from activity_indexer.replay.report import report, wait_until_passed
from activity_indexer.replay.result import Result
from activity_indexer.replay.sending import Engine, Pace
from activity_indexer.replay.settled import Settled, find_settled


@dataclass(frozen=True, slots=True)
class Options:
    """How a replay is run; times in seconds.

    `topic` holds the dead letters, `group` is the indexer's. `up_to` is the frozen end as a plan printed it.
    `skip_invalid` sends the rest when a correction leaves some invalid. `wait_timeout` is how long the group may stand
    still afterwards. `horizon` is the age from which tombstones may be purged, and `skew` is how far in the future an
    event may be.
    """

    topic: str
    group: str
    up_to: str | None = None
    dry_run: bool = False
    edit: bool = False
    skip_invalid: bool = False
    rate: float | None = None
    wait: bool = True
    wait_timeout: float = 60.0
    horizon: float = 30 * 86_400.0
    skew: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Outside:
    """The outside systems; `writing` takes the right to write, for one replay at a time."""

    letters: Letters
    documents: Documents
    groups: Groups
    writing: Callable[[], AbstractAsyncContextManager[Transactions]]


class People(Protocol):
    """Whoever watches: people at a terminal, or a machine that reads lines."""

    def searching(self, what: str, progress: Progress) -> None:
        """Something is read before anything is sent."""

    async def planned(self, plan: Plan) -> bool:
        """Here is the plan; whether to go on."""

    async def edited(self, value: bytes | None) -> bytes | None:
        """A value to correct; the corrected one, None when nothing was changed."""

    def sending(self, counters: Counters, passed: int, total: int) -> None:
        """So far; `passed` and `total` are offsets."""

    def waiting(self, left: int) -> None:
        """The indexer's group has so many offsets to go."""


class Session:
    """Plans, sends, waits and reports."""

    def __init__(
        self,
        wanted: Wanted,
        options: Options,
        outside: Outside,
        people: People,
        stopping: asyncio.Event,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._wanted = wanted
        self._options = options
        self._outside = outside
        self._people = people
        self._stopping = stopping
        self._now = now
        self.sending = False
        """Whether a stop is waited for: `stopping` ends it after the transaction."""
        self._topics = [options.topic, *([wanted.parked_topic] if wanted.include_parked else [])]

    async def run(self) -> Result:
        """The whole replay. Raises ReplayRefused, Unavailable or Refused."""
        if self._options.dry_run:
            found = await self._prepared()
            if isinstance(found, Result):
                return found
            return self._result("done", "dry run: nothing was sent", found, _unsent(found.plan.counters))
        async with self._outside.writing() as transactions:
            found = await self._prepared()
            if isinstance(found, Result):
                return found
            sent = await self._send(transactions, found)
        return sent if isinstance(sent, Result) else await self._finish(sent)

    async def _prepared(self) -> Result | _Found:
        """The plan, and that all agree to it; or the end already."""
        wanted, letters = self._wanted, self._outside.letters
        group = f"{self._options.group}.replay.{wanted.replay_id}"
        earlier = await begun(letters, self._outside.groups, group, self._topics)
        settled = await self._settled()
        at = earlier or await fresh(letters, wanted, self._topics, self._options.up_to, self._now())
        if self._options.edit:
            await self._edit(at, settled)
            at = earlier or await fresh(letters, self._wanted, self._topics, self._options.up_to, self._now())
        if earlier:
            check_same(earlier, self._wanted, self._options.topic, self._options.up_to)
        found = _Found(at, await self._plan(at, settled), settled, resumed=earlier is not None)
        if not found.plan.counters.matched and not at.counters.matched:
            return self._result("nothing", "no dead letter matches", found, at.counters)
        self._check_valid(found.plan)
        if not await self._people.planned(found.plan):
            return self._result("refused", "not confirmed: nothing was sent", found, at.counters)
        return found

    async def _settled(self) -> Settled:
        """All that came back or was parked, also after the frozen end."""
        topics = [self._options.topic, self._wanted.parked_topic]
        spans = await self._outside.letters.spans(topics, Selection(since=self._wanted.selection.since))
        return await find_settled(
            self._outside.letters, spans, lambda progress: self._people.searching("what came back", progress)
        )

    async def _edit(self, at: Standing, settled: Settled) -> None:
        plan = await self._plan(at, settled)
        if plan.counters.matched != 1 or plan.example is None:
            raise ReplayRefused(
                f"--edit is for a single dead letter, and {plan.counters.matched} match: name it with --offsets"
            )
        value = await self._people.edited(plan.example.letter.value)
        if value is None:
            raise ReplayRefused("nothing was changed in the editor: nothing was sent")
        self._wanted = replace(self._wanted, correction=Replacement(value))

    async def _plan(self, at: Standing, settled: Settled) -> Plan:
        plan = Plan(int((self._now() - self._options.horizon) * 1e6), written_ends(at.positions, self._options.topic))
        decider = Decider(self._wanted, self._outside.documents, settled)
        async for letters in self._outside.letters.read(
            _spans(at), lambda progress: self._people.searching("what matches", progress)
        ):
            plan.add(await decider.decide(letters, self._believed()))
            plan.blind = plan.blind or decider.blind
        return plan

    def _check_valid(self, plan: Plan) -> None:
        if plan.invalid and not self._options.skip_invalid:
            listed = "\n".join(plan.refusals)
            raise ReplayRefused(
                f"{plan.invalid} would stay invalid in spite of the correction, and nothing was sent; "
                f"--skip-invalid sends the others:\n{listed}"
            )

    def _believed(self) -> int:
        return int((self._now() + self._options.skew) * 1e6)

    async def _send(self, transactions: Transactions, found: _Found) -> Result | _Sent:
        decider = Decider(self._wanted, self._outside.documents, found.settled)
        pace = Pace(self._options.rate, self._wanted.max_sent)
        engine = Engine(self._outside.letters, transactions, decider, pace, self._stopping, self._believed)
        starts = sum(position.offset for position in found.at.positions.values())
        total = sum(position.end for position in found.at.positions.values()) - starts

        def tell(at: Standing) -> None:
            passed = sum(position.offset for position in at.positions.values()) - starts
            self._people.sending(at.counters, passed, total)

        self.sending = True
        try:
            if not found.resumed:
                await engine.begin(found.at)
            at = await engine.run(found.at, tell)
        finally:
            self.sending = False
        if not at.done and not engine.enough(at):
            message = f"interrupted: run it again with --id {self._wanted.replay_id} and the same options to go on"
            return self._result("interrupted", message, found, at.counters)
        return _Sent(found, at, engine.written)

    async def _finish(self, sent: _Sent) -> Result:
        """Wait until the indexer has taken what was sent, and tell what became of it."""
        counters = sent.at.counters
        told = f"{counters.sent} sent, {counters.stale} stale, {counters.parked} parked, {counters.refused} refused"
        if not counters.sent or not self._options.wait:
            return self._result("done", told, sent.found, counters)
        try:
            left, found = await self._report(sent)
        except (Unavailable, Refused, asyncio.CancelledError) as error:
            reason = str(error) or "it was interrupted"
            return self._result("done", f"{told}; no report: {reason}", sent.found, counters)
        if left:
            told += (
                f"; the group {self._options.group} did not move for {self._options.wait_timeout:g} s and has {left} "
                "offsets to go: is an indexer running?"
            )
        return replace(self._result("done", told, sent.found, counters), report=found)

    async def _report(self, sent: _Sent) -> tuple[int, Report]:
        letters = self._outside.letters
        written = await self._written(sent)
        ends = {place: span.end for place, span in written.items() if span.length}
        left = await wait_until_passed(
            self._outside.groups, self._options.group, ends, self._options.wait_timeout, self._people.waiting
        )
        now = await letters.spans([self._options.topic])
        frozen = sent.at.positions
        since = {
            place: Span(max(span.start, frozen[place].end) if place in frozen else span.start, span.end)
            for place, span in now.items()
        }
        found = await report(
            self._wanted.replay_id, sent.at.counters.sent, letters, self._outside.documents, written, since
        )
        return left, found

    async def _written(self, sent: _Sent) -> Spans:
        """Where the sent events lie; what an earlier run wrote is somewhere after its beginning."""
        topic = self._wanted.topic or self._wanted.default_topic
        if sent.found.resumed:
            return await self._outside.letters.spans([topic], Selection(since=sent.at.begun * 1000))
        return {place: span for place, span in sent.written.items() if place.topic == topic}

    def _result(self, outcome: Outcome, message: str, found: _Found, counters: Counters) -> Result:
        return Result(outcome, self._wanted.replay_id, message, self._options.dry_run, found.plan, counters)


@dataclass(frozen=True, slots=True)
class _Found:
    """What there is to do, and from where on."""

    at: Standing
    plan: Plan
    settled: Settled
    resumed: bool


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was done, and where this run wrote."""

    found: _Found
    at: Standing
    written: Spans


def _unsent(counters: Counters) -> Counters:
    return Counters(counters.read, 0, counters.skipped, counters.parked, counters.stale, counters.refused)


def _spans(at: Standing) -> Spans:
    return {place: Span(position.offset, position.end) for place, position in at.positions.items()}
