"""What is worth seeing of the end-to-end tests: a table of their steps, and what the tools showed on the way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Show:
    """A folder for it."""

    folder: Path

    def keep(self, name: str, text: str) -> None:
        """Writes a file; what an earlier run left under this name goes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)


def table(reports: list[pytest.TestReport]) -> str:
    """A Markdown table: each step, what became of it, and how many seconds it took with what it had to set up."""
    rows = ["| step | | s |", "| --- | --- | ---: |"] if reports else []
    ordered = sorted(reports, key=lambda report: report.start)
    for file, story in groupby(ordered, key=lambda report: report.nodeid.split("::")[0]):
        steps = list(story)
        rows.append(f"| **{Path(file).stem.removeprefix('test_')}** | | **{sum(s.duration for s in steps):.0f}** |")
        for step, parts in groupby(steps, key=lambda report: report.nodeid):
            seconds = list(parts)
            outcome = "failed" if any(part.failed for part in seconds) else "passed"
            name = step.split("::")[-1].removeprefix("test_").replace("_", " ")
            rows.append(f"| {name} | {outcome} | {sum(part.duration for part in seconds):.0f} |")
    return "\n".join(rows)
