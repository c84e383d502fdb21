from io import StringIO

import pytest
from rich.console import Console

from activity_stack import progress
from activity_stack.progress import Progress


def fetch_two(console: Console) -> None:
    shown = Progress("jars", console)
    with shown.running(files=2, total=3_000_000):
        for size in (1_000_000, 2_000_000):
            with shown.file("a.jar", size) as advance:
                advance(size)


def test_away_from_a_terminal_progress_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0)
    output = StringIO()
    fetch_two(Console(file=output, force_terminal=False))
    lines = output.getvalue().splitlines()
    assert lines[0] == "jars: 0/2 files, 0.0/3.0 MB"
    assert lines[-1] == "jars: 2/2 files, 3.0/3.0 MB"


def test_lines_come_no_faster_than_every_few_seconds() -> None:
    output = StringIO()
    fetch_two(Console(file=output, force_terminal=False))
    assert len(output.getvalue().splitlines()) == 2


def test_on_a_terminal_progress_is_a_bar() -> None:
    output = StringIO()
    fetch_two(Console(file=output, force_terminal=True, width=100))
    assert "━" in output.getvalue()
    assert "2/2 files" in output.getvalue()
