"""A fact about a running indexer: what does not move or needs attention, since when, and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

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


_PREFIX: Final = {Severity.WAITS: "waiting", Severity.WARNS: "warning"}


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


class PartitionFacts(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What is known of an assigned partition; None: not known yet.

    `lag` counts events that are not settled, up to the partition's end. `lag_seconds` is the age of the oldest of
    them. `behind_transaction` are those that another producer's open transaction hides. `lost` are those that were
    removed before they were read.
    """

    lag: int | None = None
    lag_seconds: float | None = None
    behind_transaction: int | None = None
    lost: int | None = None


class IndexerFacts(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What one indexer answers at `/facts`: who it is, what its probes say, and why; numbers by partition."""

    instance: str
    group: str
    version: str
    live: bool
    ready: bool
    facts: list[Fact] = []
    partitions: dict[str, PartitionFacts] = {}
