"""How long to wait before the next try."""

from hypothesis import given
from hypothesis import strategies as st

from activity_indexer.backoff import Backoff


@given(st.floats(0.001, 10), st.floats(0.001, 1000), st.integers(0, 10_000))
def test_a_wait_is_between_half_and_all_of_the_doubled_one_and_bounded(
    initial: float, maximum: float, attempt: int
) -> None:
    ceiling = min(maximum, initial * 2 ** min(attempt, 32))
    assert ceiling / 2 <= Backoff(initial, maximum).delay(attempt) <= ceiling


def test_two_who_failed_together_do_not_come_back_together() -> None:
    backoff = Backoff(1.0, 60.0)
    assert len({backoff.delay(3) for _ in range(20)}) > 1
