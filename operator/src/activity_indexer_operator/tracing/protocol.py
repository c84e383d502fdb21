"""What the operator reports to tracing. Where tracing is off, nothing of OpenTelemetry is imported."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from activity_common.trace_context import TraceContext
from activity_indexer_operator.kube.objects import Key

Attributes = Mapping[str, str | int]
OUTCOME: Final = "activity_indexer.outcome"
REASON: Final = "activity_indexer.reason"


@dataclass(slots=True)
class Recorded:
    """A pass that is recorded; `noted`: it did or logged something, and is exported."""

    trace_id: str
    span_id: str
    noted: bool = False


CURRENT: Final[ContextVar[Recorded | None]] = ContextVar("recorded", default=None)
"""The current pass."""


def note() -> None:
    """Marks the current pass as one that did something."""
    if recorded := CURRENT.get():
        recorded.noted = True


@dataclass(frozen=True, slots=True)
class ReplayEnd:
    """A replay that has ended. `maker` is the span that created the object; `error` is "" where it succeeded."""

    uid: str
    trace_id: str
    indexer: str
    begin: datetime
    end: datetime
    attributes: Attributes
    maker: TraceContext | None = None
    error: str = ""
    message: str = ""


class Call(Protocol):
    """A part of a pass."""

    def failed(self, kind: str, message: str = "") -> None:
        """It failed; `kind` is one of few words."""
        ...


class Pass(Call, Protocol):
    """One pass over one object."""

    def ended(self, outcome: str) -> None:
        """How it ended; see queue.Outcome."""
        ...


class Tracing(Protocol):
    """Spans of passes, of the calls that they are made of, and of replays."""

    def reconcile(self, key: Key) -> AbstractContextManager[Pass]:
        """A pass over the object with this key."""
        ...

    def call(self, name: str, attributes: Attributes) -> AbstractContextManager[Call]:
        """A call to a server, as part of a pass that is recorded."""
        ...

    def set_attributes(self, attributes: Attributes) -> None:
        """Sets attributes of the current pass."""
        ...

    def link(self, other: TraceContext) -> None:
        """Links the current pass with another span."""
        ...

    def current(self) -> TraceContext | None:
        """The span of the current pass, where it is recorded."""
        ...

    def of_replay(self, uid: str) -> TraceContext | None:
        """The span of the whole replay that has this uid; None where nothing is traced."""
        ...

    def replay_ended(self, end: ReplayEnd) -> None:
        """Exports the span that `of_replay` has named."""
        ...

    async def stop(self) -> None:
        """Exports what is left, for at most a few seconds."""
        ...


class Untraced:
    """Tracing where it is off; also each of its passes and calls."""

    def reconcile(self, key: Key) -> AbstractContextManager[Pass]:  # noqa: ARG002 - Tracing's
        """Nothing."""
        return _NOTHING

    def call(self, name: str, attributes: Attributes) -> AbstractContextManager[Call]:  # noqa: ARG002 - Tracing's
        """Nothing."""
        return _NOTHING

    def set_attributes(self, attributes: Attributes) -> None:
        """Nothing."""

    def link(self, other: TraceContext) -> None:
        """Nothing."""

    def current(self) -> TraceContext | None:
        """Nowhere."""
        return None

    def of_replay(self, uid: str) -> TraceContext | None:  # noqa: ARG002 - Tracing's
        """None."""
        return None

    def replay_ended(self, end: ReplayEnd) -> None:
        """Nothing."""

    async def stop(self) -> None:
        """Nothing."""

    def failed(self, kind: str, message: str = "") -> None:
        """Nothing."""

    def ended(self, outcome: str) -> None:
        """Nothing."""


UNTRACED: Final = Untraced()
_NOTHING: Final = nullcontext(UNTRACED)


class TraceIds(logging.Filter):
    """Adds the ids of a recorded pass to its log lines; a line of ours marks the pass as one that did something."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Adds the ids; every line is shown."""
        if recorded := CURRENT.get():
            record.trace_id, record.span_id = recorded.trace_id, recorded.span_id
            recorded.noted = recorded.noted or record.name.startswith("activity_indexer_operator")
        return True
