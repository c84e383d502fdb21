"""One table of exit codes, in code and docs."""

import re
from pathlib import Path

from activity_common.exit_codes import FINAL, MEANINGS, Exit

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_docs_have_the_table() -> None:
    section = DOCS.read_text().partition("## Exit codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(str(code.value), MEANINGS[code]) for code in Exit]


def test_codes_that_the_jobs_rely_on_never_change() -> None:
    assert FINAL == (2, 3, 4)
    assert (Exit.DONE, Exit.FAILED, Exit.INTERRUPTED) == (0, 1, 5)
