"""One replay from its plan to its report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from activity_common.replay_result import Counters, Outcome, Report
from activity_indexer.dead_letters.selection import Selection
from activity_indexer.dead_letters.spans import Progress, Span, Spans
from activity_indexer.errors import Refused, Unavailable
from activity_indexer.replay.checkpoint import Checkpoint, check_same, earlier_checkpoint, first_checkpoint
from activity_indexer.replay.correction import Replacement
from activity_indexer.replay.decide import Decider, Fates, decided
from activity_indexer.replay.options import ReplayOptions
from activity_indexer.replay.plan import Plan, Settled, find_settled
from activity_indexer.replay.ports import Documents, Groups, Letters, ReplayRefused, Transactions
from activity_indexer.replay.report import Result, report_on, wait_until_passed
from activity_indexer.replay.sending import Sender

Writing = Callable[[], AbstractAsyncContextManager[Transactions]]


@dataclass(frozen=True, slots=True)
class Outside:
    """The outside systems; `writing` takes the right to write, for one replay at a time."""

    letters: Letters
    documents: Documents
    groups: Groups
    writing: Writing


class View(Protocol):
    """Who follows a replay: a user at a terminal, or a program that reads lines."""

    def searching(self, what: str, progress: Progress) -> None:
        """Something is read before anything is sent."""

    async def planned(self, plan: Plan) -> bool:
        """Here is the plan; whether to go on."""

    async def edited(self, value: bytes | None) -> bytes | None:
        """A value to correct; the corrected one, None when nothing was changed."""

    def sending(self, counters: Counters, passed: int, total: int) -> None:
        """So far; `passed` and `total` are offsets."""

    def waiting(self, left: int) -> None:
        """The indexer's group has this number of offsets to go."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What there is to do, and from where on."""

    at: Checkpoint
    plan: Plan
    settled: Settled
    fates: Fates | None
    resumed: bool


class Session:
    """Plans, sends, waits and reports."""

    def __init__(
        self,
        options: ReplayOptions,
        outside: Outside,
        view: View,
        stopping: asyncio.Event,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._outside = outside
        self._view = view
        self._stopping = stopping
        self._now = now
        self.sending = False
        """Whether a stop is waited for: `stopping` ends it after the transaction."""

    async def run(self) -> Result:
        """The whole replay. Raises ReplayRefused, Unavailable or Refused."""
        if self._options.dry_run:
            found = await self._prepare()
            if isinstance(found, Result):
                return found
            return self._result(
                "done", "dry run: nothing was sent", found.plan, msgspec.structs.replace(found.plan.counters, sent=0)
            )
        async with self._outside.writing() as transactions:
            found = await self._prepare()
            if isinstance(found, Result):
                return found
            sender = Sender(
                self._options,
                letters=self._outside.letters,
                transactions=transactions,
                decider=Decider(self._options, self._outside.documents, found.settled, self._now, found.fates),
                stopping=self._stopping,
            )
            at = await self._send(sender, found)
        if not at.done and not sender.enough(at):
            message = f"interrupted: run it again with --id {self._options.replay_id} and the same options to go on"
            return self._result("interrupted", message, found.plan, at.counters)
        return await self._finish(found, at, sender.written)

    async def _prepare(self) -> Result | _Prepared:
        """The plan, and that it is agreed to; or the end already."""
        letters = self._outside.letters
        earlier = await earlier_checkpoint(self._options, letters, self._outside.groups)
        settled = await self._settled()
        at = earlier or await first_checkpoint(self._options, letters, self._now())
        if self._options.edit:
            await self._edit((await self._plan(at, settled))[0])
            at = earlier or await first_checkpoint(self._options, letters, self._now())
        if earlier:
            check_same(earlier, self._options)
        plan, fates = await self._plan(at, settled)
        if not plan.counters.matched and not at.counters.matched:
            return self._result("nothing", "no dead letter matches", plan, at.counters)
        if plan.invalid and not self._options.skip_invalid:
            listed = "\n".join(plan.refusals)
            raise ReplayRefused(
                f"{plan.invalid} would stay invalid in spite of the correction, and nothing was sent; "
                f"--skip-invalid sends the others:\n{listed}"
            )
        if not await self._view.planned(plan):
            return self._result("refused", "not confirmed: nothing was sent", plan, at.counters)
        # with a rate, what is sent late is decided late, too
        remembered = None if plan.blind or self._options.rate else fates
        return _Prepared(at, plan, settled, remembered, resumed=earlier is not None)

    async def _settled(self) -> Settled:
        """All that came back or was parked, also after the frozen end."""
        topics = [self._options.dead_letter_topic, self._options.parked_topic]
        spans = await self._outside.letters.spans(topics, Selection(since=self._options.selection.since))
        return await find_settled(
            self._outside.letters, spans, lambda progress: self._view.searching("what came back", progress)
        )

    async def _edit(self, plan: Plan) -> None:
        if plan.counters.matched != 1 or plan.example is None:
            raise ReplayRefused(
                f"--edit is for a single dead letter, and {plan.counters.matched} match: name it with --offsets"
            )
        value = await self._view.edited(plan.example.letter.value)
        if value is None:
            raise ReplayRefused("nothing was changed in the editor: nothing was sent")
        self._options = replace(self._options, correction=Replacement(value))

    async def _plan(self, at: Checkpoint, settled: Settled) -> tuple[Plan, Fates]:
        horizon = int((self._now() - self._options.horizon) * 1e6)
        plan = Plan(horizon, at.ends(self._options.dead_letter_topic))
        fates = Fates(at.left, self._now())
        decider = Decider(self._options, self._outside.documents, settled, self._now)
        reading = self._outside.letters.read(at.left, lambda progress: self._view.searching("what matches", progress))
        async with aclosing(decided(decider.decide, reading)) as batches:
            async for decisions in batches:
                plan.add(decisions)
                fates.keep(decisions)
        plan.blind = decider.blind
        return plan, fates

    async def _send(self, sender: Sender, found: _Prepared) -> Checkpoint:
        total = sum(span.length for span in found.at.left.values())

        def notify(at: Checkpoint) -> None:
            left = sum(span.length for span in at.left.values())
            self._view.sending(at.counters, total - left, total)

        self.sending = True
        try:
            if not found.resumed:
                await sender.begin(found.at)
            return await sender.run(found.at, notify)
        finally:
            self.sending = False

    async def _finish(self, found: _Prepared, at: Checkpoint, written: Spans) -> Result:
        """Wait until the indexer has taken what was sent, and report what became of it."""
        counters, options = at.counters, self._options
        reported = f"{counters.sent} sent, {counters.stale} stale, {counters.parked} parked, {counters.refused} refused"
        if not counters.sent or not options.wait:
            return self._result("done", reported, found.plan, counters)
        try:
            left, report = await self._report(at, written, resumed=found.resumed)
        except (Unavailable, Refused, asyncio.CancelledError) as error:
            reason = str(error) or "it was interrupted"
            return self._result("done", f"{reported}; no report: {reason}", found.plan, counters)
        if left:
            reported += (
                f"; the group {options.indexer_group} made no progress for {options.wait_timeout:g} s and has {left} "
                "offsets to go: is an indexer running?"
            )
        return replace(self._result("done", reported, found.plan, counters), report=report)

    async def _report(self, at: Checkpoint, written: Spans, *, resumed: bool) -> tuple[int, Report]:
        """How many offsets the indexer has left, and what became of what was sent.

        What an earlier run wrote is somewhere after its beginning.
        """
        letters, options = self._outside.letters, self._options
        if resumed:
            written = await letters.spans([options.target], Selection(since=at.begun * 1000))
        written = {place: span for place, span in written.items() if place.topic == options.target}
        left = await wait_until_passed(
            self._outside.groups,
            options.indexer_group,
            {place: span.end for place, span in written.items() if span.length},
            patience=options.wait_timeout,
            notify=self._view.waiting,
        )
        now = await letters.spans([options.dead_letter_topic])
        ends = {place: each.end for place, each in at.partitions.items()}
        report = await report_on(
            options.replay_id,
            at.counters.sent,
            letters=letters,
            documents=self._outside.documents,
            written=written,
            since={place: Span(max(span.start, ends.get(place, 0)), span.end) for place, span in now.items()},
        )
        return left, report

    def _result(self, outcome: Outcome, message: str, plan: Plan, counters: Counters) -> Result:
        return Result(outcome, self._options.replay_id, message, self._options.dry_run, plan, counters)
