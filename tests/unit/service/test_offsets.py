"""The low-water mark."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.offsets import PartitionOffsets, Span


def test_nothing_taken_is_nothing_to_commit() -> None:
    tracker = PartitionOffsets()
    assert (tracker.mark(), tracker.uncommitted(), tracker.idle) == (None, None, True)


def test_the_mark_stops_at_the_first_unsettled_offset() -> None:
    tracker = PartitionOffsets()
    first, second = tracker.take([10, 11, 12]), tracker.take([13])
    second.settle_all()
    first.settle(0)
    first.settle(2)
    assert tracker.mark() == 11
    first.settle(1)
    assert tracker.mark() == 14


def test_settling_twice_is_settling_once() -> None:
    span = Span([1, 2])
    span.settle(0)
    span.settle(0)
    assert not span.settled
    span.settle(1)
    assert span.settled
    span.settle(1)
    assert span.settled


def test_gaps_between_offsets_are_passed() -> None:
    tracker = PartitionOffsets()
    tracker.take([1, 5]).settle_all()
    tracker.take([9])
    assert tracker.mark() == 9


def test_a_mark_is_committed_once() -> None:
    tracker = PartitionOffsets()
    tracker.take([1]).settle_all()
    assert tracker.uncommitted() == 2
    tracker.committed(2)
    assert tracker.uncommitted() is None
    tracker.take([2]).settle_all()
    assert tracker.uncommitted() == 3


def test_what_was_received_and_is_in_no_batch_yet_holds_the_mark() -> None:
    tracker = PartitionOffsets()
    tracker.receive(5)
    assert not tracker.idle
    tracker.skip_to(6)
    assert tracker.mark() is None


def test_markers_after_the_last_record_are_passed_again_and_again() -> None:
    tracker = PartitionOffsets()
    tracker.receive(5)
    tracker.take([5]).settle_all()
    for position in (7, 9, 9, 12):
        tracker.skip_to(position)
        assert tracker.mark() == position


def test_a_position_behind_the_mark_changes_nothing() -> None:
    tracker = PartitionOffsets()
    tracker.receive(5)
    tracker.take([5]).settle_all()
    tracker.skip_to(3)
    assert tracker.mark() == 6


@given(
    st.lists(st.sampled_from(["take", "settle", "whole", "skip", "commit"]), max_size=80),
    st.builds(random.Random, st.integers(0, 2**32)),
)
def test_the_mark_never_passes_an_unsettled_offset_and_reaches_the_end(steps: list[str], chance: random.Random) -> None:
    tracker, position = PartitionOffsets(), 0
    spans: list[Span] = []
    unsettled: set[int] = set()
    marks = [0]

    def check() -> None:
        mark = tracker.mark()
        if mark is not None:
            assert mark >= marks[-1]
            assert mark <= min(unsettled, default=position)
            marks.append(mark)

    for step in steps:
        open_spans = [span for span in spans if unsettled & set(span.offsets)]
        if step == "take":
            offsets = sorted(chance.sample(range(position, position + 9), chance.randint(1, 5)))
            position = offsets[-1] + 1
            tracker.receive(offsets[-1])
            spans.append(tracker.take(offsets))
            unsettled |= set(offsets)
        elif step == "settle" and open_spans:
            span = chance.choice(open_spans)
            at = chance.randrange(len(span.offsets))
            span.settle(at)
            unsettled.discard(span.offsets[at])
        elif step == "whole" and open_spans:
            span = chance.choice(open_spans)
            span.settle_all()
            unsettled -= set(span.offsets)
        elif step == "skip":
            position += chance.choice((0, 0, 3))
            tracker.skip_to(position)
            assert tracker.idle is not bool(unsettled)
            assert unsettled or not spans or tracker.mark() == position
        elif step == "commit" and (mark := tracker.uncommitted()) is not None:
            tracker.committed(mark)
            assert tracker.uncommitted() is None
        check()
    for span in spans:
        span.settle_all()
    tracker.skip_to(position)
    assert tracker.mark() == (position if position or spans else tracker.mark())


@pytest.mark.parametrize("settled", [[], [0], [0, 1]])
def test_the_first_unsettled_offset_of_a_span(settled: list[int]) -> None:
    span = Span([4, 6, 8])
    for at in settled:
        span.settle(at)
    assert span.first_unsettled() == [4, 6, 8][len(settled)]
