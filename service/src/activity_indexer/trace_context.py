"""The trace context that a producer sends in a record's headers, as W3C Trace Context has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from activity_indexer.ports import Record

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
SAMPLED: Final = 0x01

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
"""Version, trace id, span id, flags; a later version may add more."""


class TraceContext(NamedTuple):
    """Where an event comes from: `trace_id` and `span_id` as hexadecimal digits, `state` as it came."""

    trace_id: bytes
    span_id: bytes
    flags: int
    state: bytes = b""

    @property
    def sampled(self) -> bool:
        """Whether the producer records this trace."""
        return bool(self.flags & SAMPLED)


def trace_contexts(records: Sequence[Record]) -> Mapping[int, TraceContext]:
    """The trace contexts of those records that have one, by their place."""
    return {
        at: context
        for at, record in enumerate(records)
        if record.headers and (context := trace_context(record.headers)) is not None
    }


def trace_context(headers: Sequence[tuple[str, bytes]], name: str = TRACEPARENT) -> TraceContext | None:
    """The context in a record's headers, of several the last; None when there is none, or none that is valid.

    `name` is the header's, for those that carry a context beside the producer's.
    """
    found = _last(headers, name)
    match = _TRACEPARENT.fullmatch(found) if found else None
    if match is None or (match[1] == b"00" and match[5]):
        return None
    state = _last(headers, TRACESTATE) if name == TRACEPARENT else None
    return TraceContext(match[2], match[3], int(match[4], 16), state or b"")


def traceparent(trace_id: int, span_id: int) -> bytes:
    """The header of a span that is recorded."""
    return b"00-%032x-%016x-01" % (trace_id, span_id)


def _last(headers: Sequence[tuple[str, bytes]], name: str) -> bytes | None:
    for key, value in reversed(headers):
        if key == name:
            return value
    return None
