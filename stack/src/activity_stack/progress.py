"""Download progress: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress as Bars

LINE_INTERVAL = 3.0
MEGABYTE = 1_000_000


class Progress:
    """What has been fetched of one set of files. Files are fetched in several threads."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        """Report under `title`, on standard error unless a console is given."""
        from rich.console import Console  # noqa: PLC0415 - slow to import, needed once

        self._title = title
        self._console = console or Console(stderr=True)
        self._mutex = threading.Lock()
        self._files = self._done = self._total_files = self._total = 0
        self._next_line = 0.0
        self._bar: Callable[[], None] = lambda: None

    @contextmanager
    def running(self, files: int, total: int) -> Iterator[None]:
        """Show progress towards `files` files of `total` bytes together while the block runs."""
        self._total_files, self._total = files, total
        if self._console.is_terminal:
            with self._bars() as bars:
                task = bars.add_task(self._title, total=total)
                self._bar = lambda: bars.update(task, completed=self._done, description=self._files_text())
                yield
        else:
            self._line()
            yield
            self._line()

    @contextmanager
    def file(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """One file's part: yields what is called with the bytes of each piece."""
        yield self._add
        with self._mutex:
            self._files += 1
        self._add(0)

    def _add(self, count: int) -> None:
        with self._mutex:
            self._done += count
            if self._console.is_terminal:
                self._bar()
            elif time.monotonic() >= self._next_line:
                self._line()

    def _line(self) -> None:
        self._next_line = time.monotonic() + LINE_INTERVAL
        done, total = self._done / MEGABYTE, self._total / MEGABYTE
        self._console.print(f"{self._files_text()}, {done:.1f}/{total:.1f} MB", highlight=False)

    def _files_text(self) -> str:
        return f"{self._title}: {self._files}/{self._total_files} files"

    def _bars(self) -> Bars:
        from rich import progress as rich  # noqa: PLC0415 - slow to import, needed once

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn())
        return rich.Progress(*columns, rich.TransferSpeedColumn(), rich.TimeRemainingColumn(), console=self._console)
