"""Exit codes of the three programs: one table, so that a code means the same in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What an exit code reports."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    NOTHING_TO_DO = 3
    REFUSED = 4
    INTERRUPTED = 5
    DIFFERENT = 6
    UNHEALTHY = 7
    STOPPED = 130


MEANINGS: Final[Mapping[Exit, str]] = {
    Exit.DONE: "done, healthy, no differences",
    Exit.FAILED: "failed: a server is unavailable, or refuses",
    Exit.WRONG_USAGE: "wrong options or settings",
    Exit.NOTHING_TO_DO: "nothing to do",
    Exit.REFUSED: "refused: not now, or not like this",
    Exit.INTERRUPTED: "interrupted: run it again to go on",
    Exit.DIFFERENT: "index and expectation differ (`reconcile`, `activity-loadgen --verify`)",
    Exit.UNHEALTHY: "something is down or missing, or an indexer reports a problem or cannot be asked (`status`)",
    Exit.STOPPED: "stopped by Ctrl-C or SIGTERM before the end (`activity-loadgen`)",
}

FINAL: Final = (Exit.WRONG_USAGE, Exit.NOTHING_TO_DO, Exit.REFUSED)
"""Codes after which another try with the same options ends the same way."""
