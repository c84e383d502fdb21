import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity_indexer_operator.indexer.decide import Decision, Limit, Why, decide
from activity_indexer_operator.indexer.lag_policy import LagReason, Need
from activity_indexer_operator.indexer.spec import Mode, Policy, Scaling
from activity_indexer_operator.kafka.observation import Number, Unknown

NOT_KNOWN = Unknown("BrokerUnreachable", "no answer")
ACTIVE = Mode.ACTIVE
counts = st.integers(1, 2_000)
policies = st.sampled_from([Policy.PARTITION_COUNT, Policy.LAG])


@st.composite
def scalings(draw: st.DrawFn) -> Scaling:
    low, high = sorted((draw(st.integers(0, 200)), draw(st.integers(1, 200))))
    return Scaling(
        policy=draw(policies),
        min_replicas=low,
        max_replicas=max(high, 1),
        partitions_per_replica=draw(st.integers(1, 50)),
    )


def need(replicas: int | None) -> Need:
    return Need(replicas, LagReason.LOAD, "")


def outcome(decision: Decision) -> tuple[int | None, int | None, Limit]:
    return decision.desired, decision.scale_to, decision.limit


def by_partitions(partitions: Number, replicas: Number, scaling: Scaling | None = None) -> Decision:
    return decide(ACTIVE, scaling or Scaling(), partitions, replicas)


def test_replicas_follow_the_partitions_up_and_down() -> None:
    assert outcome(by_partitions(6, 2)) == (6, 6, Limit.NONE)
    assert outcome(by_partitions(6, 9)) == (6, 6, Limit.NONE)


def test_nothing_is_done_when_the_replicas_are_right() -> None:
    assert by_partitions(6, 6).scale_to is None


def test_a_last_replica_takes_what_does_not_divide_evenly() -> None:
    assert by_partitions(7, 1, Scaling(partitions_per_replica=3)).desired == 3


def test_limits_win_over_the_policy_and_are_reported() -> None:
    assert outcome(by_partitions(12, 1, Scaling(max_replicas=4))) == (4, 4, Limit.MAXIMUM)
    assert outcome(by_partitions(4, 1, Scaling(min_replicas=3, partitions_per_replica=4))) == (3, 3, Limit.MINIMUM)


def test_a_limit_that_is_just_met_limits_nothing() -> None:
    assert by_partitions(4, 4, Scaling(min_replicas=4, max_replicas=4)).limit is Limit.NONE


def test_not_even_the_minimum_is_above_the_partitions() -> None:
    assert outcome(by_partitions(2, 1, Scaling(min_replicas=3))) == (2, 2, Limit.PARTITIONS)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(0, (0, Limit.NONE)), (5, (5, Limit.NONE)), (9, (8, Limit.PARTITIONS)), (20, (8, Limit.PARTITIONS))],
)
def test_by_hand_any_number_up_to_the_partitions_is_set(asked: int, expected: tuple[int, Limit]) -> None:
    scaling = Scaling(policy=Policy.MANUAL, replicas=asked, min_replicas=2, max_replicas=12)
    decision = decide(ACTIVE, scaling, 8, 3)
    assert (decision.scale_to, decision.limit) == expected


def test_by_hand_the_maximum_holds_too() -> None:
    decision = decide(ACTIVE, Scaling(policy=Policy.MANUAL, replicas=9, max_replicas=4), 8, 3)
    assert outcome(decision) == (4, 4, Limit.MAXIMUM)


def test_lag_asks_for_replicas_within_the_bounds() -> None:
    scaling = Scaling(policy=Policy.LAG, max_replicas=10, partitions_per_replica=2)
    assert decide(ACTIVE, scaling, 12, 2, need(4)).scale_to == 4
    assert decide(ACTIVE, scaling, 12, 2, need(12)).scale_to == 6, "ceil(12 / 2)"


def test_lag_moves_nothing_while_it_is_measured() -> None:
    measuring = Need(None, LagReason.MEASURING, "two looks")
    assert decide(ACTIVE, Scaling(policy=Policy.LAG), 12, 2, measuring).scale_to is None
    assert decide(ACTIVE, Scaling(policy=Policy.LAG), 12, 2, None).scale_to is None


@pytest.mark.parametrize("mode", [Mode.DRY_RUN, Mode.PAUSED])
def test_a_dry_run_and_a_pause_decide_and_do_nothing(mode: Mode) -> None:
    assert outcome(decide(mode, Scaling(), 6, 2)) == (6, None, Limit.NONE)


@pytest.mark.parametrize("partitions", [6, NOT_KNOWN])
def test_suspended_asks_for_none_whatever_the_brokers_say(partitions: Number) -> None:
    decision = decide(Mode.SUSPENDED, Scaling(min_replicas=2), partitions, 2)
    assert (decision.desired, decision.scale_to, decision.reason) == (0, 0, Why.SUSPENDED)


@given(counts, scalings(), st.sampled_from([Mode.ACTIVE, Mode.DRY_RUN, Mode.PAUSED]))
def test_unknown_partitions_never_move_replicas(replicas: int, scaling: Scaling, mode: Mode) -> None:
    assert outcome(decide(mode, scaling, NOT_KNOWN, replicas, need(3))) == (None, None, Limit.UNKNOWN)


@given(counts, scalings())
def test_unknown_replicas_are_never_written_over(partitions: int, scaling: Scaling) -> None:
    assert decide(ACTIVE, scaling, partitions, NOT_KNOWN, need(3)).scale_to is None


@given(counts, counts, scalings(), st.integers(0, 3000))
def test_what_is_decided_is_within_limits_and_stable(
    partitions: int, replicas: int, scaling: Scaling, needed: int
) -> None:
    desired = decide(ACTIVE, scaling, partitions, replicas, need(needed)).desired
    assert desired is not None
    assert min(scaling.min_replicas, partitions) <= desired <= min(scaling.max_replicas, partitions)
    assert decide(ACTIVE, scaling, partitions, desired, need(needed)).scale_to is None


@given(counts, counts, scalings())
def test_more_partitions_never_mean_fewer_replicas(fewer: int, more: int, scaling: Scaling) -> None:
    few, many = (decide(ACTIVE, scaling, count, 1, need(2_000)).desired for count in sorted((fewer, more)))
    assert few is not None
    assert many is not None
    assert few <= many
