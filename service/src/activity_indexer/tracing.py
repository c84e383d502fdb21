"""What the indexer and its audit report to tracing: one protocol, so that no other part knows of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from activity_common.trace_context import TraceContext
from activity_indexer.ports import Record

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class BatchTrace(Protocol):
    """The spans of one batch, and of those of its events that their producers sampled."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """The time of the batch in one stage; calls to servers meanwhile are part of it."""

    def event(self, at: int) -> AbstractContextManager[object]:
        """Log lines meanwhile belong to the event at this place of the batch."""

    def dead_letter(self, at: int) -> bytes | None:
        """The traceparent of the span that sends this event to the dead-letter topic; None when there is none."""

    def settled(self, outcomes: Mapping[int, str], errors: Mapping[int, str]) -> None:
        """What became of the events, and the stable words of what failed, by their places in the batch."""


class Call(Protocol):
    """The span of a call to a server."""

    @property
    def recorded(self) -> bool:
        """Whether what is reported to it is kept."""

    def notify(self, attributes: Attributes) -> None:
        """What is known when the answer is there."""


class Tracing(Protocol):
    """Where spans come from."""

    def batch(
        self, records: Sequence[Record], contexts: Mapping[int, TraceContext]
    ) -> AbstractContextManager[BatchTrace]:
        """Process a batch; `contexts` are those of its records that have one, by their places."""

    def call(self, name: str, attributes: Attributes) -> AbstractContextManager[Call]:
        """Call a server; recorded where it is part of a batch that is."""


_NOTHING: Final = nullcontext()


class UntracedBatch:
    """A batch that is not recorded."""

    def stage(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002 - as the protocol has it
        """Nothing."""
        return _NOTHING

    def event(self, at: int) -> AbstractContextManager[object]:  # noqa: ARG002 - as the protocol has it
        """Nothing."""
        return _NOTHING

    def dead_letter(self, at: int) -> bytes | None:  # noqa: ARG002 - as the protocol has it
        """None."""
        return None

    def settled(self, outcomes: Mapping[int, str], errors: Mapping[int, str]) -> None:
        """Nothing."""

    recorded = False

    def notify(self, attributes: Attributes) -> None:
        """Nothing."""


UNTRACED: Final = nullcontext(UntracedBatch())


class Untraced:
    """Tracing is off."""

    def batch(
        self,
        records: Sequence[Record],  # noqa: ARG002 - as the protocol has it
        contexts: Mapping[int, TraceContext],  # noqa: ARG002 - as the protocol has it
    ) -> AbstractContextManager[BatchTrace]:
        """A batch that is not recorded."""
        return UNTRACED

    def call(self, name: str, attributes: Attributes) -> AbstractContextManager[Call]:  # noqa: ARG002 - the protocol's
        """A call that is not recorded."""
        return UNTRACED
