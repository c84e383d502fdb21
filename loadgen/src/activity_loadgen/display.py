"""Progress: a bar on a terminal, a plain line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console

from activity_loadgen.publish import PublishCounts
from activity_loadgen.verify import VerifyProgress

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS: Final = 5.0


class TerminalDisplay:
    """Two bars: events acknowledged, transactions searchable. A context manager."""

    def __init__(self, console: Console, expected_events: int | None) -> None:
        from rich.progress import (  # noqa: PLC0415 - for a terminal only
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._expected = expected_events
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing and leave the last state on the screen."""
        self._bars.stop()

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._console.print(line, markup=False, highlight=False)

    def publishing(self, counts: PublishCounts) -> None:
        """Move the bar of acknowledged events."""
        total = max(self._expected or 0, counts.sent) or None
        self._show("published", counts.acknowledged, total, f"{counts.rate:,.0f}/s")

    def verifying(self, progress: VerifyProgress) -> None:
        """Move the bar of searchable transactions, and that of dead letters when there are any to come."""
        self._show("searchable", progress.searchable, progress.transactions, progress.problem or "")
        if progress.invalid:
            self._show("dead letters", progress.dead_letters, progress.invalid, "")

    def _show(self, name: str, done: int, total: int | None, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, note="")
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)


class LineDisplay:
    """One line every few seconds, for logs. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = time.monotonic() + LINE_SECONDS

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def publishing(self, counts: PublishCounts) -> None:
        """Print how many events are acknowledged, when it is time again."""
        if self._due():
            self.say(f"published {counts.acknowledged} events, {counts.rate:.0f}/s")

    def verifying(self, progress: VerifyProgress) -> None:
        """Print how many transactions are searchable, when it is time again."""
        if self._due():
            dead = f", {progress.dead_letters} of {progress.invalid} dead letters" if progress.invalid else ""
            note = f" ({progress.problem})" if progress.problem else ""
            self.say(f"searchable {progress.searchable} of {progress.transactions} transactions{dead}{note}")

    def _due(self) -> bool:
        due = time.monotonic() >= self._next
        if due:
            self._next = time.monotonic() + LINE_SECONDS
        return due


def display_for(console: Console, expected_events: int | None) -> TerminalDisplay | LineDisplay:
    """The display that suits the console."""
    return TerminalDisplay(console, expected_events) if console.is_terminal else LineDisplay(console)
