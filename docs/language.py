"""Keeps the project's language plain: finds words that the documentation of Kubernetes or PostgreSQL would not use.

`python docs/language.py [FILE ...]` lists each of them with what to write instead, and ends with 1 if there is any.
Without files it reads every text file of the repository: documents, templates, comments, docstrings, messages, names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]

INSTEAD: Final = {
    "tells?|telling|told": "report, log, say, show; told apart: distinguished",
    "says? of": "say about, report",
    "last words?": "termination message, last message",
    "goodbyes?|in peace": "close, shut down, leave",
    "people|somebody|nobody|whoever": "operator, on-call engineer, user, another program, or the passive",
    "mend(?:s|ed|ing)?": "fix, correct, restore",
    "anew": "again, from scratch",
    "(?:is|are|was|were) absent|there no more|(?:lies|stands) there": "does not exist, is missing",
    "(?:is|are|was|were) away": "unavailable, unreachable",
    "so (?:many|long)(?! as)": "at most N, this many, for N seconds",
    "stands? still": "makes no progress, is stuck",
    "never comes": "never fires, never happens",
    "thereof|whence|lest": "of it, from where, so that not",
}
"""Words, as regular expressions, and what to write instead."""

EXEMPT: Final = re.compile(
    r"docs/language\.py|uv\.lock|LICENSE|CHANGELOG\.md|benchmarks/(results|peers)/|tests/goldens/|.*\.(svg|png|json|lock|sql)$"
)
"""Paths that are not read: this table, what programs wrote, and the changelog, which quotes names that were changed."""

ALLOWED: Final = {
    "nobody": re.compile(r"(stack/.*/postgres|tests/.*/(pgbouncer|test_guide|test_security))\.py"),
}
"""Words by the files that may have them: `nobody` is a system's user."""

# In names the parts of a word stand between underscores or capitals.
_WORDS: Final = {
    re.compile(rf"(?<![a-z])(?:{words.replace(' ', '[ _]')})(?![a-z])", re.IGNORECASE): advice
    for words, advice in INSTEAD.items()
}


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """Line (from 1), word, and what to write instead, for each word of a text that is not plain."""
    for number, line in enumerate(text.splitlines(), 1):
        for words, advice in _WORDS.items():
            for found in words.finditer(line):
                yield number, found[0], advice


def _texts(paths: list[str]) -> Iterator[tuple[str, str]]:
    command = ["git", "ls-files", "-z", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - git itself
    for path in filter(None, listed.stdout.split("\0")):
        if EXEMPT.match(path) or not (ROOT / path).is_file() or (ROOT / path).is_symlink():
            continue
        try:
            yield path, (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def main(paths: list[str]) -> int:
    """List what is not plain; returns the exit code."""
    count = 0
    for path, text in _texts(paths):
        for line, word, advice in findings(text):
            allowed = ALLOWED.get(word.lower())
            if not (allowed and allowed.match(path)):
                count += 1
                sys.stdout.write(f'{path}:{line}: "{word}": write {advice}\n')
    if count:
        sys.stderr.write(f"{count} words are not plain: docs/language.py has the list\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
