"""One run from end to end: generate, publish, keep the ledger, verify. What the command line and demos call."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from activity_loadgen.expected import ExpectedState
from activity_loadgen.follow import Follower
from activity_loadgen.generate import generate
from activity_loadgen.kafka import KafkaConnection
from activity_loadgen.ledger import Entry, LedgerWriter, Sink, read
from activity_loadgen.options import LoadOptions
from activity_loadgen.publish import PublishCounts, PublishOptions, publish
from activity_loadgen.search import SearchConnection, open_search
from activity_loadgen.spans import Spans
from activity_loadgen.stopping import unless_stopped
from activity_loadgen.verify import VerifyOptions, VerifyProgress, VerifyReport, verify


class Display(Protocol):
    """Shows a run."""

    def say(self, line: str) -> None:
        """Show a line."""

    def publishing(self, counts: PublishCounts) -> None:
        """Show how far publishing is; called about twenty times a second."""

    def verifying(self, progress: VerifyProgress) -> None:
        """Show how far verifying is."""


class Silent:
    """Shows nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""

    def publishing(self, counts: PublishCounts) -> None:
        """Show nothing."""

    def verifying(self, progress: VerifyProgress) -> None:
        """Show nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does. It verifies when `search` is given, and keeps a ledger file when `ledger` is."""

    load: LoadOptions
    kafka: KafkaConnection
    publish: PublishOptions = field(default_factory=PublishOptions)
    ledger: Path | None = None
    ledger_append: bool = False
    search: SearchConnection | None = None
    verify: VerifyOptions = field(default_factory=VerifyOptions)
    spans: Spans | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run; `report` is None when it was not asked to verify."""

    run: str
    seed: int
    counts: PublishCounts
    report: VerifyReport | None


async def run(plan: Plan, display: Display | None = None, stop: asyncio.Event | None = None) -> Outcome:
    """Publish, and verify what was published; `stop` ends the publishing early, in good order, and the verifying.

    Raises:
        LedgerError: the ledger cannot be written.
        KafkaUnavailableError, PublishError: see `publish`.
        VerifyError, SearchSettingError: see `verify`.
    """
    shown = display or Silent()
    expected, follower = ExpectedState(), Follower()
    with contextlib.ExitStack() as stack:
        sinks: list[Sink] = []
        if plan.ledger is not None:
            writer = stack.enter_context(LedgerWriter(plan.ledger, append=plan.ledger_append))
            sinks.append(writer.write)
        if plan.search is not None:
            sinks += [expected.add, follower.add]
        try:
            async with _following(plan.search, follower):
                counts = await _publish(plan, sinks, shown, stop)
        finally:
            if plan.spans is not None:
                await plan.spans.stop()
    report = await unless_stopped(stop or asyncio.Event(), _verify(plan, expected, follower, shown))
    return Outcome(plan.load.run, plan.load.seed, counts, report)


async def run_verify(
    ledger: Path,
    kafka: KafkaConnection,
    search: SearchConnection,
    options: VerifyOptions,
    display: Display | None = None,
) -> VerifyReport:
    """Verify what an earlier run's ledger says.

    Raises:
        LedgerError: the ledger cannot be read.
        VerifyError, SearchSettingError: see `verify`.
    """
    shown = display or Silent()
    expected = await asyncio.to_thread(lambda: ExpectedState(read(ledger)))
    return await verify(expected, kafka, search, options, on_progress=shown.verifying)


async def _publish(plan: Plan, sinks: list[Sink], display: Display, stop: asyncio.Event | None) -> PublishCounts:
    def on_ack(entry: Entry) -> None:
        for sink in sinks:
            sink(entry)

    return await publish(
        generate(plan.load),
        plan.load.run,
        plan.kafka,
        plan.publish,
        on_ack=on_ack if sinks else None,
        on_progress=display.publishing,
        say=display.say,
        stop=stop,
        spans=plan.spans,
    )


async def _verify(plan: Plan, expected: ExpectedState, follower: Follower, display: Display) -> VerifyReport | None:
    if plan.search is None:
        return None
    return await verify(
        expected, plan.kafka, plan.search, plan.verify, follower=follower, on_progress=display.verifying
    )


@contextlib.asynccontextmanager
async def _following(search: SearchConnection | None, follower: Follower) -> AsyncIterator[None]:
    """Watch what becomes searchable while the events are still being sent."""
    if search is None:
        yield
        return
    async with open_search(search) as index:
        task = asyncio.create_task(follower.run(index))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
