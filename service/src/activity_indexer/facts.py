"""A fact about a running indexer: what does not move or needs attention, since when, and what to do."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """What follows from a fact."""

    STALLS = "stalls"
    """A restart may help: not live, and so not ready."""
    BLOCKS = "blocks"
    """Work does not go on until the cause is fixed: not ready."""
    WAITS = "waits"
    """Something is retried and may pass by itself: ready, as a restart would not help."""
    WARNS = "warns"
    """Work goes on, and an operator has to look: ready."""


class Fact(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One fact.

    `code` is a stable word, `subject` what it is about when one code can hold for several things ("partition 3").
    `since` is Unix seconds. `advice` says what to do when the reason does not.
    """

    code: str
    severity: Severity
    reason: str
    since: float
    subject: str = ""
    advice: str = ""

    @property
    def text(self) -> str:
        """The fact in one line, as the probes and `status` show it."""
        head = self.code + (f" ({self.subject})" if self.subject else "")
        if self.severity in {Severity.WAITS, Severity.WARNS}:
            head = f"{_PREFIX[self.severity]}: {head}"
        return head + (f": {self.reason}" if self.reason else "") + (f"; {self.advice}" if self.advice else "")


_PREFIX = {Severity.WAITS: "waiting", Severity.WARNS: "warning"}
