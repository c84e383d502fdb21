"""W3C Trace Context of replays: a replay's own follows from its uid, so that it is the same after every restart."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

VARIABLE: Final = "TRACEPARENT"
"""In the environment of a Job: the trace that its command is part of."""
ANNOTATION: Final = "activityindexer.io/traceparent"
"""On a DeadLetterReplay: the span of who made it."""
_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span: ids in hexadecimal, 32 and 16 digits, and whether it is recorded."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """As headers and variables carry it."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


def parse_traceparent(text: str) -> TraceContext | None:
    """The context of such a text; None where it is none."""
    match = _FORM.fullmatch(text)
    if match is None or not (int(match[1], 16) and int(match[2], 16)):
        return None
    return TraceContext(match[1], match[2], sampled=bool(int(match[3], 16) & 1))


def context_of(uid: str, *, sampled: bool = True) -> TraceContext:
    """The span that stands for the whole life of the object with this uid, and its trace."""
    digest = hashlib.blake2b(uid.encode(), digest_size=24, person=b"replay trace").hexdigest()
    return TraceContext(digest[:32], digest[32:], sampled)
