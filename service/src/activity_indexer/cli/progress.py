"""A progress bar on stderr, which leaves stdout to the result."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(unit: str, *, show: bool) -> Progress:
    """A bar with how many of how many, and the time that is left."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not show)


def waiting(bar: Progress) -> Callable[[str], None]:
    """Reports beside the bar what is waited for, each reason once at a time."""
    last = ""

    def notify(reason: str) -> None:
        nonlocal last
        if reason and reason != last:
            bar.console.print(reason, style="yellow", markup=False)
        last = reason

    return notify
