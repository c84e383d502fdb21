"""What a replay of dead letters reports: written by `dead-letters replay`, read by the operator from the Job's pod.

The counters are also kept in Kafka, beside the replay's read position, and in the status of a DeadLetterReplay.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

Outcome = Literal["done", "nothing", "refused", "interrupted", "failed"]

MAX_RESULT: Final = 4000
"""Bytes of a result: Kubernetes keeps no more of a container's termination message."""


def described(text: str) -> msgspec.Meta:
    """What the schema of a DeadLetterReplay says about a number."""
    return msgspec.Meta(description=text, extra_json_schema={"format": "int64"})


class Counters(msgspec.Struct, frozen=True):
    """Dead letters, by what became of them; `skipped` were not selected, all others were."""

    read: Annotated[int, described("Read so far.")] = 0
    sent: Annotated[int, described("Sent back to their topic.")] = 0
    skipped: Annotated[int, described("Not selected.")] = 0
    parked: Annotated[int, described("Came back too often, and were parked.")] = 0
    stale: Annotated[int, described("Their transaction has a newer event by now.")] = 0
    refused: Annotated[int, described("The correction could not be applied.")] = 0

    @property
    def matched(self) -> int:
        """Those that the selection means."""
        return self.sent + self.parked + self.stale + self.refused

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, name) + getattr(other, name) for name in COUNTED))

    def __sub__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, name) - getattr(other, name) for name in COUNTED))

    def as_json(self, *, without: str = "") -> dict[str, int]:
        """All of them by name, but one."""
        return {name: getattr(self, name) for name in COUNTED if name != without}


COUNTED: Final = Counters.__struct_fields__


class Cause(msgspec.Struct, frozen=True):
    """Dead letters that failed in the same way."""

    stage: Annotated[str, msgspec.Meta(description="Where they failed.")]
    error: Annotated[str, msgspec.Meta(description="Class of the error.")]
    matched: Annotated[int, described("Dead letters that match.")]


class Report(msgspec.Struct, rename="camel"):
    """What the indexer made of the events that were sent."""

    indexed: Annotated[int, described("Indexed.")] = 0
    stale: Annotated[int, described("Their documents are newer.")] = 0
    dead_lettered: Annotated[int, described("Dead letters again.")] = 0
    unknown: Annotated[int, described("Not settled when the replay stopped to wait.")] = 0
    errors: Annotated[
        dict[str, Annotated[int, msgspec.Meta(extra_json_schema={"format": "int64"})]],
        msgspec.Meta(description="Of those that failed again, by class of error."),
    ] = msgspec.field(default_factory=dict)

    @property
    def most_common_errors(self) -> list[tuple[str, int]]:
        """The most frequent first."""
        return sorted(self.errors.items(), key=lambda item: -item[1])


class ReplayResult(msgspec.Struct, frozen=True, rename="camel"):
    """The last line of the command; `matched` and `causes` are the plan's, all else is what was done."""

    kind: str
    outcome: str
    """An Outcome; of a later release maybe another one."""
    replay: str = ""
    dry_run: bool = False
    up_to: str = ""
    matched: int = 0
    sent: int = 0
    stale: int = 0
    parked: int = 0
    skipped: int = 0
    refused: int = 0
    causes: tuple[Cause, ...] = ()
    report: Report | None = None
    message: str = ""

    @property
    def counters(self) -> Counters:
        """The counters at the end."""
        read = self.sent + self.stale + self.parked + self.skipped + self.refused
        return Counters(
            read=read,
            sent=self.sent,
            skipped=self.skipped,
            parked=self.parked,
            stale=self.stale,
            refused=self.refused,
        )
