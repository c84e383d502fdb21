"""The end of every command's help: examples, and what its exit codes tell."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What an exit code tells."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    """Wrong options or settings."""
    NOTHING_TO_DO = 3
    REFUSED = 4
    """It may not be done now, or not like this."""
    INTERRUPTED = 5
    """Run again to go on."""
    DIFFERENT = 6
    """Index and audit differ."""
    UNHEALTHY = 7
    """Something is down or missing, or an indexer reports a problem."""


COMMON: Final[Mapping[Exit, str]] = {
    Exit.DONE: "done",
    Exit.FAILED: "failed: a server is away, or refuses",
    Exit.WRONG_USAGE: "wrong options or settings",
}


def epilog(*examples: str, codes: Mapping[Exit, str | None] | None = None) -> str:
    """Examples without the program's name, and the exit codes; `codes` adds to the common ones, None takes one away."""
    told = dict(sorted(({**COMMON, **(codes or {})}).items()))
    lines = ["\b", "Examples:", *(f"  activity-indexer {example}".rstrip() for example in examples), ""]
    lines += ["\b", "Exit codes:", *(f"  {code.value}  {text}" for code, text in told.items() if text)]
    return "\n".join(lines)
