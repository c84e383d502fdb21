"""Trace contexts of replays: a replay's own follows from its uid, so that it is the same after every restart."""

from __future__ import annotations

import hashlib
from typing import Final

from activity_common.trace_context import SAMPLED, TraceContext

ANNOTATION: Final = "activityindexer.io/traceparent"
"""On a DeadLetterReplay: the span of who made it."""


def context_of(uid: str, *, sampled: bool = True) -> TraceContext:
    """The span that stands for the whole life of the object with this uid, and its trace."""
    digest = hashlib.blake2b(uid.encode(), digest_size=24, person=b"replay trace").hexdigest().encode()
    return TraceContext(digest[:32], digest[32:], SAMPLED if sampled else 0)
