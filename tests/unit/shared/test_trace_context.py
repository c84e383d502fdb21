"""The producer's trace context, as W3C Trace Context has it."""

import pytest
from fixtures.records import Reported

from activity_common.trace_context import TraceContext, trace_context, trace_contexts, traceparent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"


def header(text: bytes) -> list[tuple[str, bytes]]:
    return [("traceparent", text)]


def test_a_context_is_read_with_its_state() -> None:
    headers = [*header(b"00-%b-%b-01" % (TRACE, SPAN)), ("tracestate", b"a=1")]
    assert trace_context(headers) == TraceContext(TRACE, SPAN, 1, b"a=1")
    assert trace_context(headers).sampled  # type: ignore[union-attr]


@pytest.mark.parametrize(("flags", "sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"ff", True)])
def test_only_the_last_bit_of_the_flags_says_whether_it_is_sampled(flags: bytes, sampled: bool) -> None:
    found = trace_context(header(b"00-%b-%b-%b" % (TRACE, SPAN, flags)))
    assert found is not None
    assert found.sampled == sampled


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense",
        b"00-0-0-01",
        b"00-%b-%b" % (TRACE, SPAN),
        b"00-%b-%b-01-more" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01\n" % (TRACE, SPAN),
    ],
)
def test_what_is_no_context_is_none(text: bytes) -> None:
    assert trace_context(header(text)) is None


def test_a_later_version_may_say_more() -> None:
    assert trace_context(header(b"01-%b-%b-01-more" % (TRACE, SPAN))) == TraceContext(TRACE, SPAN, 1)


def test_of_several_headers_the_last_counts_and_a_null_harms_nothing() -> None:
    later = b"00-%b-%b-00" % (TRACE[::-1], SPAN)
    assert trace_context([*header(b"00-%b-%b-01" % (TRACE, SPAN)), *header(later)]) == TraceContext(
        TRACE[::-1], SPAN, 0
    )
    assert trace_context([("traceparent", None)]) is None  # type: ignore[list-item]


def test_contexts_of_a_batch_are_reported_by_place() -> None:
    records = [Reported(b""), Reported(b"", headers=header(traceparent(1, 2))), Reported(b"", headers=[("x", b"")])]
    assert trace_contexts(records) == {1: TraceContext(b"%032x" % 1, b"%016x" % 2, 1)}
