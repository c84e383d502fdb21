"""W3C Trace Context, as record headers, variables and annotations carry it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
VARIABLE: Final = "TRACEPARENT"
"""In the environment of a command: the trace that it is part of."""
SAMPLED: Final = 0x01

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
"""Version, trace id, span id, flags; a later version may add more."""

Headers = Sequence[tuple[str, bytes]]


class Carrier(Protocol):
    """A record."""

    @property
    def headers(self) -> Headers:
        """Its headers."""


class TraceContext(NamedTuple):
    """A span of another program: `trace_id` and `span_id` as hexadecimal digits, `state` as it came."""

    trace_id: bytes
    span_id: bytes
    flags: int = SAMPLED
    state: bytes = b""

    @property
    def sampled(self) -> bool:
        """Whether the span is recorded."""
        return bool(self.flags & SAMPLED)

    def __str__(self) -> str:
        """The context as a variable or an annotation carries it."""
        return f"00-{self.trace_id.decode()}-{self.span_id.decode()}-{self.flags:02x}"


def parse_traceparent(value: bytes) -> TraceContext | None:
    """The context in a `traceparent`; None when it is not valid."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[1] == b"00" and match[5]):
        return None
    return TraceContext(match[2], match[3], int(match[4], 16))


def trace_context(headers: Headers, name: str = TRACEPARENT) -> TraceContext | None:
    """The context in a record's headers, of several the last; None when there is none, or none that is valid.

    `name` is the header's name: some headers carry a context beside the producer's.
    """
    value = _last(headers, name)
    context = parse_traceparent(value) if value else None
    if context is None or name != TRACEPARENT or not (state := _last(headers, TRACESTATE)):
        return context
    return context._replace(state=state)


def trace_contexts(records: Iterable[Carrier]) -> Mapping[int, TraceContext]:
    """The contexts of those records that have one, by their place."""
    return {
        at: context
        for at, record in enumerate(records)
        if record.headers and (context := trace_context(record.headers)) is not None
    }


def traceparent(trace_id: int, span_id: int, *, sampled: bool = True) -> bytes:
    """The header of a span."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, sampled)


def _last(headers: Headers, name: str) -> bytes | None:
    for key, value in reversed(headers):
        if key == name:
            return value
    return None
