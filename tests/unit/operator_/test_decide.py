from hypothesis import given
from hypothesis import strategies as st

from activity_indexer_operator.api import Scaling
from activity_indexer_operator.decide import Decision, Limit, Unknown, decide

NOBODY_KNOWS = Unknown("KafkaUnreachable", "no answer")
counts = st.integers(1, 2_000)


@st.composite
def scalings(draw: st.DrawFn) -> Scaling:
    low, high = sorted((draw(st.integers(0, 200)), draw(st.integers(1, 200))))
    return Scaling(low, max(high, 1), draw(st.integers(1, 50)))


def test_replicas_follow_the_partitions_up_and_down() -> None:
    assert decide(6, 2, Scaling()) == Decision(6, 6, Limit.NONE)
    assert decide(6, 9, Scaling()) == Decision(6, 6, Limit.NONE)


def test_nothing_is_done_when_the_replicas_are_right() -> None:
    assert decide(6, 6, Scaling()) == Decision(6, None, Limit.NONE)


def test_a_last_replica_takes_what_does_not_divide_evenly() -> None:
    assert decide(7, 1, Scaling(partitions_per_replica=3)).desired == 3


def test_limits_win_over_the_partitions_and_are_told() -> None:
    assert decide(12, 1, Scaling(max=4)) == Decision(4, 4, Limit.MAXIMUM)
    assert decide(1, 1, Scaling(min=3)) == Decision(3, 3, Limit.MINIMUM)


def test_a_limit_that_is_just_met_limits_nothing() -> None:
    assert decide(4, 4, Scaling(min=4, max=4)).limit is Limit.NONE


@given(counts, scalings())
def test_unknown_partitions_never_move_replicas(replicas: int, scaling: Scaling) -> None:
    assert decide(NOBODY_KNOWS, replicas, scaling) == Decision(None, None, Limit.NONE)


@given(counts, scalings())
def test_unknown_replicas_are_never_written_over(partitions: int, scaling: Scaling) -> None:
    assert decide(partitions, NOBODY_KNOWS, scaling).scale_to is None


@given(counts, counts, scalings())
def test_what_is_decided_is_within_limits_and_stable(partitions: int, replicas: int, scaling: Scaling) -> None:
    desired = decide(partitions, replicas, scaling).desired
    assert desired is not None
    assert scaling.min <= desired <= scaling.max
    assert decide(partitions, desired, scaling).scale_to is None


@given(counts, counts, scalings())
def test_more_partitions_never_mean_fewer_replicas(fewer: int, more: int, scaling: Scaling) -> None:
    few, many = (decide(count, 1, scaling).desired for count in sorted((fewer, more)))
    assert few is not None
    assert many is not None
    assert few <= many
