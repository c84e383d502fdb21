"""How a replay is shown: bars and a table at a terminal, lines of JSON for programs."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import click
from rich.console import Console
from rich.table import Table

from activity_common.replay_result import Counters, Report
from activity_indexer.cli.progress import progress_bar
from activity_indexer.dead_letters.spans import Progress
from activity_indexer.replay.correction import read_json, write_json
from activity_indexer.replay.plan import Plan
from activity_indexer.replay.ports import ReplayRefused
from activity_indexer.replay.report import Result

T = TypeVar("T")
INTERVAL: Final = 1.0
"""Seconds between two lines of progress."""


class Lines:
    """session.View for programs: one JSON object per line."""

    def __init__(self, replay_id: str) -> None:
        self._replay_id = replay_id
        self._due = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def searching(self, what: str, progress: Progress) -> None:
        """A line now and then."""
        self._now_and_then({"kind": "progress", "searching": what, "passed": progress.passed, "total": progress.total})

    async def planned(self, plan: Plan) -> bool:
        """The plan's line; nothing is asked."""
        _put({"kind": "plan", "replay": self._replay_id, **plan.as_json()})
        return True

    async def edited(self, value: bytes | None) -> bytes | None:
        """An editor needs a user, whatever reads the lines."""
        return await asked(lambda: edited(value))

    def sending(self, counters: Counters, passed: int, total: int) -> None:
        """A line now and then."""
        self._now_and_then({"kind": "progress", "passed": passed, "total": total, **counters.as_json()})

    def waiting(self, left: int) -> None:
        """A line now and then."""
        self._now_and_then({"kind": "progress", "waiting": left})

    def ended(self, result: Result) -> None:
        """The result's line."""
        _put(result.as_json())

    def _now_and_then(self, reported: dict[str, Any]) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + INTERVAL
            _put(reported)


class Terminal:
    """session.View for users: bars on stderr, the plan and the report on stdout."""

    def __init__(self, replay_id: str, *, dry_run: bool, sure: bool) -> None:
        self._replay_id = replay_id
        self._dry_run = dry_run
        self._sure = sure or not (sys.stdin.isatty() and sys.stdout.isatty())
        self._bar = progress_bar("", show=sys.stderr.isatty())
        self._tasks: dict[str, Any] = {}
        self._console = Console()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def searching(self, what: str, progress: Progress) -> None:
        """Move the bar of this search."""
        self._move(f"looking for {what}", progress.passed, progress.total)

    async def planned(self, plan: Plan) -> bool:
        """Print the plan, and ask whether to go on."""
        self._bar.stop()
        show_plan(self._console, plan, self._replay_id)
        if self._dry_run or self._sure:
            return True
        agreed = await asked(lambda: click.confirm(f"Send {plan.counters.sent} again?", default=False))
        self._bar.start()
        return agreed

    async def edited(self, value: bytes | None) -> bytes | None:
        """Open the editor, with the bar out of its way."""
        self._bar.stop()
        found = await asked(lambda: edited(value))
        self._bar.start()
        return found

    def sending(self, counters: Counters, passed: int, total: int) -> None:
        """Move the bar."""
        self._move(f"sending ({counters.sent} sent)", passed, total, "sending")

    def waiting(self, left: int) -> None:
        """Show how much the indexer has left."""
        self._move(f"waiting for the indexer ({left} to go)", 0, None, "waiting")

    def ended(self, result: Result) -> None:
        """Print what was done and what became of it."""
        self._bar.stop()
        self._console.print(f"Replay {result.replay_id}: {result.outcome}. {result.message}", markup=False)
        if result.report:
            show_report(self._console, result.report)

    def _move(self, text: str, passed: int, total: int | None, name: str = "") -> None:
        name = name or text
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(text, total=total)
        self._bar.update(self._tasks[name], description=text, completed=passed, total=total)


def show_plan(console: Console, plan: Plan, replay_id: str) -> None:
    """The plan as a table, and what a user should know before agreeing."""
    counters = plan.counters
    table = Table("Stage", "Error", "Dead letters", title=f"Replay {replay_id}", title_justify="left")
    for (stage, error), number in plan.causes.most_common():
        table.add_row(stage, error, str(number))
    console.print(table)
    lines = (
        (counters.sent, "to be sent"),
        (counters.stale, "stale: their documents are as new or newer; skipped"),
        (counters.parked, "came back too often: to be parked"),
        (counters.refused, "refused"),
        (plan.failing, "of those to be sent are invalid and will come back: correct them with --patch or --edit"),
        (plan.old, "of those to be sent are older than the horizon: a purged deletion of theirs would be undone"),
    )
    for number, meaning in lines:
        if number:
            console.print(f"{number:>9} {meaning}", markup=False)
    for refusal in plan.refusals:
        console.print(f"          {refusal}", markup=False)
    if plan.blind:
        console.print(f"It is unknown what is stale: {plan.blind}. Versions protect newer documents.", markup=False)
    console.print(f"Up to {plan.up_to}", markup=False)


def show_report(console: Console, report: Report) -> None:
    """What became of the events."""
    for number, meaning in (
        (report.indexed, "indexed"),
        (report.stale, "stale: their documents are newer"),
        (report.dead_lettered, "dead letters again"),
        (report.unknown, "unknown"),
    ):
        console.print(f"{number:>9} {meaning}", markup=False)
    for error, number in report.most_common_errors:
        console.print(f"          {number} {error}", markup=False)


async def asked(question: Callable[[], T]) -> T:
    """The answer of a user; meanwhile Kafka gets heartbeats, and a signal does not wait for the answer."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def ask() -> None:
        try:
            found = question()
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked
            loop.call_soon_threadsafe(_settle, answer, None, error)
        else:
            loop.call_soon_threadsafe(_settle, answer, found, None)

    threading.Thread(target=ask, daemon=True).start()
    return await answer


def _settle(answer: asyncio.Future[Any], found: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(found)
    elif isinstance(error, click.Abort):
        answer.set_exception(ReplayRefused("not confirmed: nothing was sent"))
    elif isinstance(error, click.ClickException):
        answer.set_exception(ReplayRefused(error.message))
    else:
        answer.set_exception(error)


def edited(value: bytes | None) -> bytes | None:
    """The value after $EDITOR, None when nothing was changed; JSON is laid out readably, its digits as they are."""
    text = _readable(value)
    changed = click.edit(text, extension=".json", require_save=True)
    if changed is None or changed == text:
        return None
    return changed.rstrip("\n").encode(errors="surrogateescape")


def _readable(value: bytes | None) -> str:
    try:
        return write_json(read_json(value or b""), indent=2).decode() + "\n"
    except (ValueError, RecursionError):
        return (value or b"").decode(errors="surrogateescape")


def _put(reported: dict[str, Any]) -> None:
    click.echo(json.dumps(reported))
