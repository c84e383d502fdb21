"""The end of every command's help: examples, and what its exit codes mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from activity_common.exit_codes import MEANINGS, Exit

COMMON: Final[Mapping[Exit, str]] = {
    Exit.DONE: "done",
    Exit.FAILED: MEANINGS[Exit.FAILED],
    Exit.WRONG_USAGE: MEANINGS[Exit.WRONG_USAGE],
}


def epilog(*examples: str, codes: Mapping[Exit, str | None] | None = None) -> str:
    """Examples without the program's name, and the exit codes; `codes` adds to the common ones, None takes one away."""
    reported = dict(sorted(({**COMMON, **(codes or {})}).items()))
    lines = ["\b", "Examples:", *(f"  activity-indexer {example}".rstrip() for example in examples), ""]
    lines += ["\b", "Exit codes:", *(f"  {code.value}  {text}" for code, text in reported.items() if text)]
    return "\n".join(lines)
